package domains

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// How often a silent agent and a running command are asked again, and how long
// one answer may take (s).
const (
	agentPoll     = 50 * time.Millisecond
	execPollFirst = 10 * time.Millisecond
	execPollMost  = 160 * time.Millisecond
	agentAnswer   = 30
)

// The most that is read of an answer (bytes): a guest that lies makes many times
// as much of it. Those that carry data are as long as libvirt lets them be.
const answerMost = 1 << 20

var dataMost = map[string]int{"guest-exec-status": 4 << 20, "guest-file-read": 2 << 20}

// ErrNoAgent means that the guest agent does not answer (yet).
var ErrNoAgent = errors.New("the guest agent does not answer")

// errTooMuch means that an answer is longer than any that was asked for.
var errTooMuch = errors.New("it answers more than was asked for")

// errLost means that the agent knows nothing of a command that it has started, or
// went away before it answered.
var errLost = errors.New("the guest agent has lost the command: it was restarted")

// Agent speaks with the QEMU guest agent in a node. What it answers is a guest's
// word: bounded in size, and never run on the host.
type Agent struct {
	On   *host.Host
	Node topology.Node
}

// Result is how a command in a guest ended.
type Result struct {
	Code     int // exit status; 128 + number where a signal ended it, as in a shell
	Out, Err []byte
}

// Exec runs a command in the node as root, with input on its standard input, and
// waits for its end. A command that ran and failed is a Result, not an error.
func (a Agent) Exec(ctx context.Context, input []byte, command ...string) (Result, error) {
	pid, err := a.Start(ctx, input, command...)
	if err != nil {
		return Result{}, err
	}
	// seldom when it takes long: each question takes the guest's time
	for wait := execPollFirst; ; wait = min(wait*3/2, execPollMost) {
		r, ended, err := a.Ended(ctx, pid)
		if err != nil || ended {
			return r, err
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Start starts a command in the node as root, with input on its standard input, and
// returns its process's number.
func (a Agent) Start(ctx context.Context, input []byte, command ...string) (pid int, err error) {
	var started struct {
		PID int `json:"pid"`
	}
	arguments := map[string]any{"path": command[0], "arg": command[1:], "capture-output": true}
	if input != nil {
		arguments["input-data"] = base64.StdEncoding.EncodeToString(input)
	}
	err = a.call(ctx, "guest-exec", arguments, &started)
	return started.PID, err
}

// Bash runs a script of the shell that every base image has, and returns what it
// printed; a script that fails is an error which holds what it said.
func (a Agent) Bash(ctx context.Context, script string) ([]byte, error) {
	r, err := a.Exec(ctx, nil, "/bin/bash", "-c", script)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return r.Out, r.Failed()
	}
	return r.Out, nil
}

// Failed is the error of a command that ended with another status than was hoped for.
func (r Result) Failed() error {
	return fmt.Errorf("exit status %d: %s", r.Code, host.Excerpt(r.Err))
}

// Time is the node's clock as its agent reads it.
func (a Agent) Time(ctx context.Context) (time.Time, error) {
	var nanos int64
	err := a.call(ctx, "guest-get-time", nil, &nanos)
	return time.Unix(0, nanos), err
}

// SetTime sets the node's clock. An agent that then finds no hwclock has set it all the
// same: who needs to know asks for the time.
func (a Agent) SetTime(ctx context.Context, t time.Time) error {
	err := a.call(ctx, "guest-set-time", map[string]any{"time": t.UnixNano()}, nil)
	if errors.Is(err, libvirt.ERR_AGENT_COMMAND_FAILED) {
		return nil
	}
	return err
}

// Link is a network interface as the node's agent sees it.
type Link struct {
	Name      string        `json:"name"`
	MAC       string        `json:"hardware-address"`
	Addresses []LinkAddress `json:"ip-addresses"`
}

// LinkAddress is an address of a network interface.
type LinkAddress struct {
	Address netip.Addr `json:"ip-address"`
	Bits    int        `json:"prefix"`
}

// Links lists the node's network interfaces.
func (a Agent) Links(ctx context.Context) ([]Link, error) {
	var links []Link
	err := a.call(ctx, "guest-network-get-interfaces", nil, &links)
	return links, err
}

// Ended asks whether a command that was started has ended. How it has is told once.
func (a Agent) Ended(ctx context.Context, pid int) (Result, bool, error) {
	var s execStatus
	err := a.call(ctx, "guest-exec-status", map[string]any{"pid": pid}, &s)
	if isRefused(err) {
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	if err != nil {
		return Result{}, false, err
	}
	r, err := s.result()
	return r, s.Exited, err
}

// execStatus is what the agent tells of a command.
type execStatus struct {
	Exited bool   `json:"exited"`
	Code   int    `json:"exitcode"`
	Signal int    `json:"signal"`
	Out    []byte `json:"out-data"`
	Err    []byte `json:"err-data"`
	OutCut bool   `json:"out-truncated"`
	ErrCut bool   `json:"err-truncated"`
}

func (s execStatus) result() (Result, error) {
	if s.OutCut || s.ErrCut {
		return Result{}, errors.New("the command printed more than the guest agent carries (16 MiB)")
	}
	if s.Signal != 0 {
		s.Code = 128 + s.Signal
	}
	return Result{s.Code, s.Out, s.Err}, nil
}

// answerTime is how long one answer may take (s): no longer than ctx, in whole seconds.
func answerTime(ctx context.Context) libvirt.DomainQemuAgentCommandTimeout {
	most := agentAnswer * time.Second
	if end, ok := ctx.Deadline(); ok {
		most = min(most, max(time.Until(end), time.Second))
	}
	return libvirt.DomainQemuAgentCommandTimeout(most / time.Second)
}

// Ping is nil where the agent answers.
func (a Agent) Ping(ctx context.Context) error {
	return a.call(ctx, "guest-ping", nil, nil)
}

// call sends one command of QEMU's guest agent protocol and reads its answer into to.
// Source: QEMU, docs/interop/qemu-ga-ref.
func (a Agent) call(ctx context.Context, command string, arguments map[string]any, to any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	d, err := a.On.LookupDomainByName(a.Node.Object)
	if err != nil {
		return err
	}
	defer func() { _ = d.Free() }()
	answer, err := d.QemuAgentCommand(string(text), answerTime(ctx), 0)
	if err != nil {
		err = harmless(err)
		if errors.Is(err, libvirt.ERR_AGENT_UNRESPONSIVE) || errors.Is(err, libvirt.ERR_AGENT_UNSYNCED) {
			return fmt.Errorf("%w: %w", ErrNoAgent, err)
		}
		if errors.Is(err, libvirt.ERR_AGENT_COMMAND_TIMEOUT) {
			return fmt.Errorf("%s: %w: %w", command, errLost, err)
		}
		if refuses.MatchString(err.Error()) {
			return hinted{
				fmt.Errorf("the image's guest agent refuses %s", command),
				"let it: in the image's /etc/sysconfig/qemu-ga, /etc/default/qemu-guest-agent or /etc/qemu/qemu-ga.conf, which block or do not list it",
			}
		}
		return fmt.Errorf("%s: %w", command, err)
	}
	if to == nil {
		return nil
	}
	return read(command, answer, to)
}

// read reads what a command answered, which may be anything, into to.
func read(command, answer string, to any) error {
	if most := cmp.Or(dataMost[command], answerMost); len(answer) > most {
		return fmt.Errorf("%s: %w: %d bytes, of at most %d", command, errTooMuch, len(answer), most)
	}
	if err := decode(answer, to); err != nil {
		return fmt.Errorf("%s answered %s: %s", command, host.Excerpt([]byte(answer)), host.Excerpt([]byte(err.Error())))
	}
	return nil
}

// isRefused says that the agent has answered that it cannot. Older libvirts, such as
// 9.0, have no code of its own for that.
func isRefused(err error) bool {
	return errors.Is(err, libvirt.ERR_AGENT_COMMAND_FAILED) || errors.Is(err, libvirt.ERR_INTERNAL_ERROR)
}

// refuses matches what agents of any version say of a command that their
// configuration blocks, or that they were built without.
var refuses = regexp.MustCompile(`ommand \S+ has (been disabled|not been found)`)

// harmless bounds what an error of libvirt's says and makes it fit for a
// terminal: libvirt passes on the guest's own words.
func harmless(err error) error {
	var told libvirt.Error
	if !errors.As(err, &told) {
		return err
	}
	told.Message = host.Excerpt([]byte(told.Message))
	return told
}

// decode reads what an answer returns.
func decode(answer string, to any) error {
	var envelope struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal([]byte(answer), &envelope); err != nil {
		return err
	}
	return json.Unmarshal(envelope.Return, to)
}
