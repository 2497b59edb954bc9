// Package checkout finds the files of this checkout for tests and benchmarks, whatever package they are of.
package checkout

import (
	"os"
	"path/filepath"
)

// Root is the directory of the module that the working directory is in, which for a test is that of its package. It
// panics outside of one.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("no go.mod above the working directory")
		}
		dir = parent
	}
}
