package backup

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/store"
)

// What is made and deleted during the backup is in the set as it was at one moment.
func TestF11WritersDuringBackup(t *testing.T) {
	t.Parallel()
	runs := 10
	if os.Getenv("SOAK") != "" {
		runs = 100
	}
	for run := range runs {
		t.Run(fmt.Sprint(run), testWriters) // which leaves no connections
	}
}

func testWriters(t *testing.T) {
	p := newPlatform(t)
	p.fill(10)
	_, d := archive(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i, user := range p.users {
		writers.Go(func() {
			var mine []store.Asset
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				content := make([]byte, 2000)
				_, _ = rand.Read(content)
				a, err := p.tryUpload(user, fmt.Sprintf("%d-%d.png", i, n), content)
				if err == nil {
					mine = append(mine, a)
				}
				if err == nil && n%3 == 2 {
					var orphan string
					if orphan, err = p.store.PurgeAsset(context.Background(), user.ID, mine[0].ID); orphan != "" {
						err = p.store.DiscardObject(context.Background(), user.ID, orphan, p.bucket.Delete)
					}
					mine = mine[1:]
					for key := "?"; key != "" && err == nil; {
						key, err = p.store.CollectObject(context.Background(), "", p.bucket.Delete)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	set, err := Create(t.Context(), p.options(d))
	close(stop)
	writers.Wait()
	if err != nil || !set.Verified() {
		t.Fatalf("%+v, %v", set.Blobs, err)
	}
	q, _ := restored(t, d)
	rows, wrong := q.check()
	if len(wrong) > 0 || rows < 10 {
		t.Errorf("%d rows, %v", rows, wrong)
	}
	var dangling int
	q.scan(&dangling, "select count(*) from assets a left join blobs b using (user_id, sha256) where b.sha256 is null")
	if dangling > 0 {
		t.Errorf("%d assets have no blob", dangling)
	}
}
