package server

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// keyPair is a certificate chain and its key in two PEM files, which are replaced when they are renewed. Each new
// connection gets what the files hold then; connections that are open keep theirs.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu       sync.Mutex
	files    [2]fs.FileInfo // that were read last
	readable *tls.Certificate
}

// newKeyPair reads the files. The error names the file.
func newKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log}
	files, err := k.stat()
	if err != nil {
		return nil, fmt.Errorf("the TLS key pair: %w", err)
	}
	return k, k.read(files)
}

// certificate is for tls.Config.GetCertificate. A pair that cannot be read, because the certificate was replaced and the
// key not yet, leaves the one before in use.
func (k *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	files, err := k.stat()
	if err != nil || sameFile(files[0], k.files[0]) && sameFile(files[1], k.files[1]) {
		return k.readable, nil
	}
	if err := k.read(files); err != nil {
		k.log.Warn("the renewed TLS key pair is no pair; the one before stays in use", "error", err.Error())
		return k.readable, nil
	}
	k.log.Info("TLS key pair renewed", "expires", k.readable.Leaf.NotAfter.UTC())
	return k.readable, nil
}

// sameFile says whether a file is the one that was read. A Secret's volume has links, and new files behind them.
func sameFile(now, then fs.FileInfo) bool {
	return os.SameFile(now, then) && now.ModTime().Equal(then.ModTime()) && now.Size() == then.Size()
}

func (k *keyPair) stat() (files [2]fs.FileInfo, err error) {
	for i, name := range []string{k.certFile, k.keyFile} {
		if files[i], err = os.Stat(name); err != nil {
			return files, err
		}
	}
	return files, nil
}

// read takes the pair as it is. What was tried is not tried again until the files change.
func (k *keyPair) read(files [2]fs.FileInfo) error {
	k.files = files
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("read %s and %s: %w", k.certFile, k.keyFile, err)
	}
	k.readable = &pair
	return nil
}
