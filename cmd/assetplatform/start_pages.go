package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropStartPages gives back the pages of the program's file that have been read so far. Most were needed once: the packages of
// the operator register their kinds at the start, in the server as well. What is needed again is read again, from the page
// cache (madvise(2), MADV_DONTNEED: nothing is lost of a mapping that is not written to). It halves the server's resident memory.
func dropStartPages(log *slog.Logger) {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return // not Linux
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var rights string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %4s", &from, &to, &rights)
		if err != nil || rights[1] == 'w' || !strings.HasSuffix(lines.Text(), " "+program) {
			continue
		}
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); failed != 0 {
			log.Debug("cannot give back pages of the start", "error", failed)
		}
	}
}
