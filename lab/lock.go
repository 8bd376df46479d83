package lab

import (
	"context"
	"errors"

	"github.com/mami-project/labctl/host"
)

// lock takes the lab of that name for what this process does, and tells of who
// else has it meanwhile.
func lock(ctx context.Context, name, doing string, tell Tell) (unlock func(), err error) {
	return host.Lock(ctx, "lab-"+name, doing, func(holder string) {
		tell.note("wait", "lab/"+name, "another labctl works on it: "+holder)
	})
}

// tryLock is lock for who does not wait: it tells who has the lab, if somebody has.
func tryLock(ctx context.Context, name, doing string) (unlock func(), holder string, err error) {
	held := errors.New("held")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unlock, err = host.Lock(ctx, "lab-"+name, doing, func(who string) {
		holder = who
		cancel(held)
	})
	if errors.Is(err, held) {
		return nil, holder, nil
	}
	return unlock, "", err
}
