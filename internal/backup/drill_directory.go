package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	drillDirectory = "assetplatform-drill-" // begins the name of a drill's temporary directory
	drillLock      = "lock"
	// drillLocks is within how long a drill has locked the directory that it has made.
	drillLocks = time.Minute
)

// lockDrill locks the directory of a drill until this process ends, however it does. The file gets its name once it is locked: nobody finds it
// without the lock of a drill that lives.
func lockDrill(dir string) (*os.File, error) {
	name := filepath.Join(dir, drillLock)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// removeDeadDrills removes what drills have left that were killed: a restored database, which nothing encrypts. What cannot be removed, such
// as another account's, is left alone.
func removeDeadDrills() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), drillDirectory+"*")) // a directory that cannot be read has none
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		// Others may write here: no link is followed, and no pipe waited for.
		lock, err := os.OpenFile(filepath.Join(dir, drillLock), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		switch {
		case err == nil:
			if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				_ = os.RemoveAll(dir)
			}
			_ = lock.Close()
		case os.IsNotExist(err) && time.Since(info.ModTime()) > drillLocks:
			_ = os.RemoveAll(dir)
		}
	}
}
