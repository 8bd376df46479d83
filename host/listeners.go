package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// listeners are the processes that have a port of the host, "influxd (process
// 812)", sorted, as far as /proc tells: those of other containers it does not.
func (h *Host) listeners(p Port) []string {
	inodes := map[string]bool{}
	for _, family := range []string{p.Protocol, p.Protocol + "6"} {
		for _, inode := range bound(h.told("proc/net", family), p) {
			inodes["socket:["+inode+"]"] = true
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	pids, err := h.list("proc")
	if err != nil {
		return nil
	}
	var all []string
	for _, pid := range pids {
		if _, err := strconv.Atoi(pid); err == nil && h.hasOpen(pid, inodes) {
			all = append(all, fmt.Sprintf("%s (process %s)", h.told("proc", pid, "comm"), pid))
		}
	}
	slices.Sort(all)
	return all
}

// hasOpen says whether a process has one of those files open.
func (h *Host) hasOpen(pid string, files map[string]bool) bool {
	fds, err := h.list("proc", pid, "fd")
	if err != nil {
		return false // ended meanwhile
	}
	return slices.ContainsFunc(fds, func(fd string) bool { return files[h.target("proc", pid, "fd", fd)] })
}

// bound are the inodes of sockets that have the port, listening where that can be
// told, in a table of /proc/net. A connection to elsewhere has a port as well.
func bound(table string, p Port) []string {
	const listening, unconnected = "0A", "07"
	state := listening
	if p.Protocol == "udp" {
		state = unconnected
	}
	var inodes []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != state {
			continue
		}
		_, port, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil && uint16(n) == p.Number {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}
