package hosttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Change is one system call by which a program changes the host, or asks libvirt to.
type Change struct {
	What string // "rename /var/lib/labctl/labs/a/mark.xml", "libvirt call 11", "netlink 16"
	Nth  int    // how often the program has done the like, this time included; after a signal the same call is no other
	Done bool   // it has returned; before, nothing is changed yet
	Err  error  // why it was refused, once Done
}

// Traced is how a traced program ended.
type Traced struct {
	Code   int            // exit status; -1 where a signal ended it
	Signal syscall.Signal // that ended it
}

// Trace runs a program with words, in a folder, with both its outputs in a file (of an absolute name),
// and calls each before and after each Change that it makes: by itself, not by
// programs that it starts. It waits meanwhile, though its other threads go on.
// The signal that each returns is sent to it; 0 is none. The end of ctx kills it.
//
// Changes are told from the system calls alone, so that whatever is added to the
// program is seen: files made, written, renamed and removed, links, firewall
// rules and settings, calls of libvirt, programs started and waited for.
func Trace(ctx context.Context, words []string, dir string, output *os.File, each func(Change) syscall.Signal) (Traced, error) {
	runtime.LockOSThread() // one thread traces
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(words[0], words, &syscall.ProcAttr{
		Dir: dir, Env: os.Environ(), Files: []uintptr{0, output.Fd(), output.Fd()},
		Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return Traced{}, fmt.Errorf("%s: %w", words[0], err)
	}
	defer context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGKILL) })()
	t := tracer{pid: pid, output: output.Name(), each: each, threads: map[int]*thread{}, times: map[string]int{}}
	return t.run()
}

type tracer struct {
	pid     int
	output  string // what it writes there is no change
	each    func(Change) syscall.Signal
	threads map[int]*thread
	times   map[string]int // of each change
}

type thread struct {
	inside      *Change // the change that it is making
	interrupted *Change // what a signal kept it from, and it makes later
}

// Of ptrace(2): what is traced, and what a stop was for.
const (
	traceOptions        = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	syscallStop         = unix.SIGTRAP | 0x80
	getSyscallInfo      = 0x420e
	syscallEntry   byte = 1
	syscallExit    byte = 2
)

// restarts are what a call returns that a signal interrupted (the kernel's include/linux/errno.h).
var restarts = []syscall.Errno{syscall.EINTR, 512, 513, 514, 516}

func (t *tracer) run() (Traced, error) {
	for first := true; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Traced{}, fmt.Errorf("wait for the traced program: %w", err)
		}
		if ws.Exited() || ws.Signaled() {
			if tid == t.pid {
				return ended(ws), nil
			}
			delete(t.threads, tid)
			continue
		}
		if first { // it has become the program
			first = false
			if err := unix.PtraceSetOptions(tid, traceOptions); err != nil {
				return Traced{}, fmt.Errorf("trace: %w", err)
			}
		}
		pass := t.stopped(tid, ws)
		if err := unix.PtraceSyscall(tid, int(pass)); err != nil && !errors.Is(err, unix.ESRCH) { // killed meanwhile
			return Traced{}, fmt.Errorf("continue: %w", err)
		}
	}
}

func ended(ws unix.WaitStatus) Traced {
	if ws.Signaled() {
		return Traced{Code: -1, Signal: ws.Signal()}
	}
	return Traced{Code: ws.ExitStatus()}
}

// stopped deals with a stopped thread, and returns the signal that it is to have.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) syscall.Signal {
	th, known := t.threads[tid]
	if !known {
		th = &thread{}
		t.threads[tid] = th
	}
	switch signal := ws.StopSignal(); {
	case signal == syscallStop:
		t.atSyscall(tid, th)
		return 0
	case signal == unix.SIGTRAP, !known && signal == unix.SIGSTOP: // tracing's own
		return 0
	default:
		return signal
	}
}

// syscallInfo is the kernel's struct ptrace_syscall_info.
type syscallInfo struct {
	op     byte
	_      [3]byte
	_      uint32 // architecture
	_, _   uint64 // instruction and stack pointer
	number uint64 // of the call; on return, what it returned
	args   [6]uint64
}

func (t *tracer) atSyscall(tid int, th *thread) {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return // killed meanwhile
	}
	switch {
	case info.op == syscallEntry:
		what := call{t.pid, info.number, info.args}.change()
		if what == "" || what == "write "+t.output {
			return
		}
		if th.interrupted != nil && th.interrupted.What == what { // the same again is not another
			th.inside, th.interrupted = th.interrupted, nil
		} else {
			t.times[what]++
			th.inside = &Change{What: what, Nth: t.times[what]}
		}
		t.tell(*th.inside)
	case info.op == syscallExit && th.inside != nil:
		done := *th.inside
		th.inside, done.Done = nil, true
		if result := int64(info.number); result < 0 && result > -4096 {
			done.Err = syscall.Errno(-result)
		}
		if slices.ContainsFunc(restarts, func(r syscall.Errno) bool { return errors.Is(done.Err, r) }) {
			done.Done, done.Err = false, nil
			th.interrupted = &done
			return
		}
		t.tell(done)
	}
}

func (t *tracer) tell(c Change) {
	if signal := t.each(c); signal != 0 {
		_ = unix.Kill(t.pid, signal)
	}
}

// memory is what stands at an address of a process, at most most bytes: what can be read of it.
func memory(pid int, at uint64, most int) []byte {
	page := uint64(os.Getpagesize())
	var read []byte
	for len(read) < most {
		n := min(uint64(most-len(read)), page-at%page)
		buffer := make([]byte, n)
		got, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buffer[0], Len: n}}, []unix.RemoteIovec{{Base: uintptr(at), Len: int(n)}}, 0)
		if err != nil || got == 0 {
			break
		}
		read = append(read, buffer[:got]...)
		at += uint64(got)
	}
	return read
}

// word is the 64-bit number at an address of a process.
func word(pid int, at uint64) uint64 {
	b := memory(pid, at, 8)
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}
