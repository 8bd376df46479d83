package host

import (
	"context"

	"golang.org/x/sys/unix"
)

func seesClock(context.Context, *Host, Needs) Check {
	var t unix.Timex // no mode: the kernel only answers
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Unseen("clock", err)
	}
	return clock(state, t.Status)
}

// clock judges what adjtimex(2) says.
func clock(state int, status int32) Check {
	c := Check{Name: "clock", Found: "synchronised"}
	if status&unix.STA_UNSYNC != 0 || state == unix.TIME_ERROR {
		c.Found = "not synchronised"
		c.Warn("the kernel says that nothing keeps its clock right (STA_UNSYNC)",
			"times in captures and in InfluxDB are those of this clock: they will not agree with other machines', nor over days with each other",
			"apt-get install chrony && systemctl enable --now chrony (Fedora: chronyd)")
	}
	return c
}
