package domains

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"libvirt.org/go/libvirt"
)

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   int
		wrong  bool
	}{
		"a number":            {answer: `{"return": {"pid": 812}}`, want: 812},
		"more than is known":  {answer: `{"return": {"pid": 812, "x": [1]}, "id": 3}`, want: 812},
		"of another kind":     {answer: `{"return": {"pid": "812"}}`, wrong: true},
		"a list":              {answer: `{"return": []}`, wrong: true},
		"nothing":             {answer: `{}`, wrong: true},
		"an error":            {answer: `{"error": {"class": "CommandNotFound"}}`, wrong: true},
		"cut short":           {answer: `{"return": {"pid": 8`, wrong: true},
		"no JSON":             {answer: "\x1b[31m", wrong: true},
		"more than one value": {answer: `{"return": {"pid": 1}} {"return": {"pid": 2}}`, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got struct{ PID int }
			err := decode(test.answer, &got)
			if (err != nil) != test.wrong || got.PID != test.want {
				t.Errorf("%d, %v; want %d, an error %v", got.PID, err, test.want, test.wrong)
			}
		})
	}
}

func TestExecStatus(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		ended  bool
		want   Result
		wrong  string
	}{
		"runs":          {answer: `{"exited": false}`},
		"ended":         {answer: `{"exited": true, "exitcode": 3, "out-data": "YQo=", "err-data": "YgA="}`, ended: true, want: Result{3, []byte("a\n"), []byte("b\x00")}},
		"silent":        {answer: `{"exited": true, "exitcode": 0}`, ended: true},
		"killed":        {answer: `{"exited": true, "signal": 9}`, ended: true, want: Result{Code: 137}},
		"too much":      {answer: `{"exited": true, "exitcode": 0, "out-truncated": true}`, ended: true, wrong: "16 MiB"},
		"too much said": {answer: `{"exited": true, "exitcode": 0, "err-truncated": true}`, ended: true, wrong: "16 MiB"},
		"no base64":     {answer: `{"exited": true, "out-data": "?"}`, wrong: "base64"},
	} {
		t.Run(name, func(t *testing.T) {
			var s execStatus
			err := decode(`{"return": `+test.answer+`}`, &s)
			var got Result
			if err == nil {
				got, err = s.result()
			}
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Fatalf("%v; want %q", err, test.wrong)
			}
			if d := cmp.Diff(test.want, got); d != "" || test.wrong == "" && s.Exited != test.ended {
				t.Errorf("ended %v (-want +got)\n%s", s.Exited, d)
			}
		})
	}
}

// libvirt's errors hold the guest's own words, as long as it likes.
func TestGuestsWordsInErrors(t *testing.T) {
	long := libvirt.Error{Code: libvirt.ERR_AGENT_COMMAND_FAILED, Message: "begin" + strings.Repeat("x", 1<<20) + "\x1b]0;title\x07"}
	err := harmless(fmt.Errorf("wrapped: %w", long))
	if s := err.Error(); len(s) > 5000 || strings.ContainsAny(s, "\x1b\x07") || !strings.Contains(s, "?]0;title?") {
		t.Errorf("%d bytes: %.20q … %q", len(s), s, s[max(0, len(s)-20):])
	}
	if !errors.Is(err, libvirt.ERR_AGENT_COMMAND_FAILED) {
		t.Errorf("%v lost its code", err)
	}
	other := errors.New("other")
	if err := harmless(other); !errors.Is(err, other) {
		t.Errorf("%v", err)
	}
}

func TestAgentOfNoMachine(t *testing.T) {
	a := demoMachine(t, "tshark").agent()
	if err := a.Ping(t.Context()); err == nil || errors.Is(err, ErrNoAgent) {
		t.Errorf("%v: waiting for it would not help", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Exec(ctx, nil, "true"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after the end of its context", err)
	}
}
