package lab

import (
	"context"

	"github.com/mami-project/labctl/host"
)

// lock takes the lab of that name for what this process does, and tells of who
// else has it meanwhile.
func lock(ctx context.Context, name, doing string, tell Tell) (unlock func(), err error) {
	return host.Lock(ctx, "lab-"+name, doing, func(holder string) {
		tell.note("wait", "lab/"+name, "another labctl works on it: "+holder)
	})
}
