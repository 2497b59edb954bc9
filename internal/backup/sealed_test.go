package backup

import (
	"crypto/ed25519"
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

// Where sets are signed none is made that is not, or by another key than the one by which they are checked: it would hold up a prune.
func TestUnsignedSetAmongSignedOnes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	key := newSigningKey(t)
	signed := func(o *CreateOptions) { o.SigningKey = key }
	checking := Destination{Archive: d.Archive, Remover: d.Remover, VerifyKey: key.Public().(ed25519.PublicKey)}
	refused := func(d Destination, edits ...func(*CreateOptions)) {
		t.Helper()
		_, err := p.tried(d, edits...)
		problem(t, err, config.CodeConfigInvalid)
	}
	refused(checking) // there is none yet
	p.backUp(d, signed)
	refused(d)
	refused(d, safety)
	refused(checking)
	refused(checking, func(o *CreateOptions) { o.SigningKey = newSigningKey(t) })
	p.backUp(checking, signed)
	if l, err := checking.List(t.Context()); err != nil || len(l.Sets) != 2 || len(l.Bad)+len(l.Unfinished) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}
