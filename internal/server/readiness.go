package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	checkEvery   = 5 * time.Second // between two rounds of checks; a change is noticed within it
	retryEvery   = time.Second     // while not everything is well
	checkTimeout = 3 * time.Second
)

// readiness knows whether this pod can serve, and how its dependencies are. Requests
// for it are answered from what the last round of checks in the background saw.
type readiness struct {
	store  *store.Store
	bucket *objectstore.Bucket
	redis  *redis.Client
	log    *slog.Logger

	started chan struct{} // closed at the first success

	mu        sync.Mutex
	checks    config.Checks
	hadBucket bool // at least once
	refused   bool // the bucket did not let this pod in, and has never done so
	draining  bool
}

func newReadiness(st *store.Store, bucket *objectstore.Bucket, rdb *redis.Client, log *slog.Logger) *readiness {
	unseen := config.Check{Status: config.CheckUnknown}
	return &readiness{
		store: st, bucket: bucket, redis: rdb, log: log, started: make(chan struct{}),
		checks: config.Checks{Database: unseen, Schema: unseen, Storage: unseen, Cache: unseen},
	}
}

// health answers while the process lives; it touches nothing.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": config.StatusOK})
}

// ready answers 503 while this pod cannot serve. A dependency that is away is named,
// with 200: other pods could not do better without it. But a bucket that has never let this
// pod in may well serve the pods of the settings before, whose place it must not take.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	body := s.readiness.report()
	status := http.StatusOK
	if body.Status == config.StatusUnavailable {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, body)
}

// report judges what the checks saw last.
func (r *readiness) report() config.Readiness {
	r.mu.Lock()
	defer r.mu.Unlock()
	down := func(c config.Check) bool { return c.Status != config.CheckOK }
	switch {
	case r.draining, r.refused, down(r.checks.Schema): // the schema's state outlives the database's: see observe
		return config.Readiness{Status: config.StatusUnavailable, Checks: r.checks}
	case down(r.checks.Database), down(r.checks.Storage), down(r.checks.Cache):
		return config.Readiness{Status: config.StatusDegraded, Checks: r.checks}
	}
	return config.Readiness{Status: config.StatusOK, Checks: r.checks}
}

// drain makes the pod unavailable for good.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

func (r *readiness) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// run checks the dependencies until ctx ends.
func (r *readiness) run(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		r.observe(ctx)
		wait := every
		if r.report().Status != config.StatusOK {
			wait = min(every, retryEvery)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// observe runs one round of checks, all at the same time.
func (r *readiness) observe(process context.Context) {
	ctx, cancel := context.WithTimeout(process, checkTimeout)
	defer cancel()
	var (
		round                            sync.WaitGroup
		database, schema, storage, cache error
	)
	round.Go(func() { database, schema = r.checkDatabase(ctx) })
	round.Go(func() { storage = r.checkStorage(ctx) })
	round.Go(func() { cache = r.checkCache(ctx) })
	round.Wait()
	if process.Err() != nil {
		return // the checks were cut short: what they report says nothing
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("database", &r.checks.Database, database)
	r.note("storage", &r.checks.Storage, storage)
	r.note("cache", &r.checks.Cache, cache)
	if !errors.Is(schema, errSchemaUnseen) { // else what was seen last holds
		r.note("schema", &r.checks.Schema, schema)
	}
	r.noteRefusal(storage)
	if schema == nil && !r.refused && !r.hasStarted() {
		close(r.started)
	}
}

// noteRefusal decides whether the bucket keeps this pod from its work. A bucket that is away,
// now or again, says nothing about that: what was seen last holds.
func (r *readiness) noteRefusal(storage error) {
	switch {
	case storage == nil && r.bucket.Claimed():
		r.hadBucket, r.refused = true, false
	case errors.Is(storage, objectstore.ErrRefused):
		r.refused = !r.hadBucket
	}
}

func (r *readiness) hasStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}

// note records what a check found, and logs it if that is news.
func (r *readiness) note(name string, check *config.Check, err error) {
	found := config.Check{Status: config.CheckOK}
	if err != nil {
		found = config.Check{Status: config.CheckDown, Reason: err.Error()}
	}
	if found != *check && err != nil {
		r.log.Warn("down", "dependency", name, "reason", found.Reason)
	} else if found != *check {
		r.log.Info("ok", "dependency", name)
	}
	*check = found
}

// errSchemaUnseen means that a database that is away says nothing about its schema.
var errSchemaUnseen = errors.New("schema not seen")

// checkDatabase reports on the database and on its schema.
func (r *readiness) checkDatabase(ctx context.Context) (database, schema error) {
	found, err := r.store.Schema(ctx)
	if err == nil {
		return nil, store.Fits(found)
	}
	if errors.Is(err, store.ErrUnavailable) {
		return r.store.Diagnose(err), errSchemaUnseen
	}
	return nil, r.store.Diagnose(err) // it answers, but has no schema of ours
}

// checkStorage reports on the bucket, and on whether its bytes are this platform's. Which
// platform that is the database tells, and it may be another database than a moment ago:
// the bucket must hear of that even while it is away.
func (r *readiness) checkStorage(ctx context.Context) error {
	var (
		both             sync.WaitGroup
		owner            objectstore.Owner
		bucket, database error
	)
	both.Go(func() { bucket = r.bucket.Check(ctx) })
	both.Go(func() { owner.Platform, owner.Instance, database = r.store.Identity(ctx) })
	both.Wait()
	if database != nil { // of which checkDatabase speaks
		_ = r.bucket.Renew(ctx)
		return bucket
	}
	if claim := r.bucket.Claim(ctx, owner); bucket == nil {
		return claim
	}
	return bucket
}

// checkCache reports on Redis, naming its address.
func (r *readiness) checkCache(ctx context.Context) error {
	err := r.redis.Ping(ctx).Err()
	if err == nil {
		return nil
	}
	var (
		address = r.redis.Options().Addr
		host, _ = splitHost(address)
		unknown *net.DNSError
		network net.Error
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("the Redis host %s is unknown: correct the host in REDIS_URL, or create its DNS record or Service", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the connection to Redis at %s was refused: start the server, or correct host and port in REDIS_URL", address)
	case hasAnyPrefix(err.Error(), "WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password", "NOPERM"):
		return fmt.Errorf("the Redis server at %s refused the user or password: correct REDIS_URL", address)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("the Redis server at %s did not answer in time: check that it runs and that network policies let this pod reach it", address)
	}
	return fmt.Errorf("the Redis server at %s failed (%w): check the server and REDIS_URL", address, err)
}

func splitHost(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, ""
	}
	return host, port
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
