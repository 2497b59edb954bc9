package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id: the OWASP Password Storage Cheat Sheet's second choice, whose
// 19 MiB per login let a pod of 256 MiB survive a burst.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	saltLength   = 16
	hashLength   = 32
)

const (
	// hashSlots bounds the hashes that are computed at one time, and so their memory: 38 MiB.
	hashSlots = 2
	// hashWait is how long a login waits for its turn.
	hashWait = 10 * time.Second
)

var errHashingBusy = errors.New("too many passwords to hash")

// passwords hashes passwords, a bounded number at a time.
type passwords struct {
	slots  chan struct{}
	crowd  atomic.Int32 // that hashes, or waits for its turn
	common map[string]bool
}

//go:embed common_passwords.txt
var commonPasswords string

func newPasswords() *passwords {
	p := &passwords{slots: make(chan struct{}, hashSlots), common: map[string]bool{}}
	for word := range strings.Lines(commonPasswords) {
		p.common[strings.TrimSpace(word)] = true
	}
	return p
}

// tooCommon tells whether a password is among the first that attackers try, or one of
// the names that go with it.
func (p *passwords) tooCommon(password string, names ...string) bool {
	password = strings.ToLower(password)
	for _, name := range names {
		if password == strings.ToLower(name) {
			return true
		}
	}
	return p.common[password]
}

// hash returns the password's hash in the PHC string format.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	var sum []byte
	err := p.inTurn(ctx, func() error {
		sum = argonParameters{argonMemory, argonTime, argonThreads}.key(password, salt, hashLength)
		return nil
	})
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, encode(salt), encode(sum)), nil
}

// nobody is a hash that no password has, to be verified in place of an unknown user's:
// that takes as long.
var nobody = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%022d$%043d", argon2.Version, argonMemory, argonTime, argonThreads, 0, 0)

// verifyPassword tells whether the password has this hash. Call it in turn.
func verifyPassword(password, hash string) (bool, error) {
	parameters, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got := parameters.key(password, salt, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// inTurn runs work, which hashes one password, in one of the slots; errHashingBusy. In a crowd it clears up behind each: the memory of a
// hash is taken anew for the next one, and a collector that is short of processor time leaves five of them lying about.
func (p *passwords) inTurn(ctx context.Context, work func() error) error {
	p.crowd.Add(1)
	defer p.crowd.Add(-1)
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
		err := work()
		if p.crowd.Load() > hashSlots {
			runtime.GC()
		}
		return err
	case <-timer.C:
		return errHashingBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

type argonParameters struct {
	memory, time uint32
	threads      uint8
}

func (a argonParameters) key(password string, salt []byte, length uint32) []byte {
	return argon2.IDKey([]byte(password), salt, a.time, a.memory, a.threads, length)
}

func parseHash(hash string) (a argonParameters, salt, sum []byte, err error) {
	fields := strings.Split(hash, "$") // "", argon2id, v, parameters, salt, hash
	if len(fields) != 6 || fields[1] != "argon2id" {
		return a, nil, nil, errors.New("a stored password hash is not argon2id")
	}
	if _, err = fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &a.memory, &a.time, &a.threads); err != nil {
		return a, nil, nil, errors.New("a stored password hash has malformed parameters")
	}
	salt, err = base64.RawStdEncoding.DecodeString(fields[4])
	if err == nil {
		sum, err = base64.RawStdEncoding.DecodeString(fields[5])
	}
	return a, salt, sum, err
}
