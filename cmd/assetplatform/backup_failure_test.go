package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// A failure has the code of whose fault it is, and a remedy.
func TestBackupFailures(t *testing.T) {
	t.Parallel()
	for want, err := range map[config.Code]error{
		config.CodeDestinationUnavailable: objectstore.ErrArchiveUnavailable,
		config.CodeBucketUnavailable:      objectstore.ErrUnavailable,
		config.CodeSetDamaged:             backup.ErrDamaged,
		config.CodeBackupFailed:           errors.New("something else"),
	} {
		if got := terminationOf(fmt.Errorf("put: %w", err)); got.Code != want || got.Remedy == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
}
