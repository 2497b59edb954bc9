package backup

import (
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Where sets are encrypted none is made that everybody can read; that a restore has made one for its recipients binds nobody.
func TestPlainSetAmongEncryptedOnes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	one := newIdentity(t)
	p.backUp(d)
	p.backUp(d, safety, to(one))
	p.backUp(d)
	p.backUp(d, to(one)) // from now on they are
	for _, edit := range []func(*CreateOptions){func(*CreateOptions) {}, safety} {
		_, err := p.tried(d, edit)
		problem(t, err, config.CodeConfigInvalid)
	}
	if finished, unfinished := sets(t, d); finished != 4 || unfinished != 0 {
		t.Errorf("%d sets, %d unfinished ones", finished, unfinished)
	}
	p.backUp(d, to(one))
}
