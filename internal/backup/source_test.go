package backup

import (
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// A bucket that cannot be read is no success, also where no blob is new.
func TestSourceThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	p.backUp(d)
	for _, spoil := range []func(*config.Bucket){
		func(b *config.Bucket) { b.SecretKey = "wrong" },
		func(b *config.Bucket) { b.Name += "-of-nobody" },
	} {
		settings := p.settings
		spoil(&settings)
		bucket, err := objectstore.New(t.Context(), settings, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.tried(d, func(o *CreateOptions) { o.Bucket = bucket })
		problem(t, err, config.CodeBucketUnavailable)
	}
	if finished, unfinished := sets(t, d); finished != 1 || unfinished != 0 {
		t.Errorf("%d sets, %d unfinished ones", finished, unfinished)
	}
}
