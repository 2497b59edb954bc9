package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/assetplatform/assetplatform/internal/config"
)

// NewRedis returns a client that gives up soon: what Redis does can be done without it.
func NewRedis(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("REDIS_URL is malformed") // the parser's error may repeat the password
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, 500*time.Millisecond, 500*time.Millisecond
	o.DialerRetries, o.MaxRetries, o.PoolSize = 1, 1, 10
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// limit is how often something may happen in a window, which begins with the first time.
type limit struct {
	key     string // what is counted
	maximum int
	window  time.Duration
}

// limiter counts. The counts are in Redis, so that all pods see them, and in this process while Redis is away.
type limiter struct {
	redis     *redis.Client
	redisAway atomic.Pointer[time.Time] // until then Redis is not asked
	local     localCounter
	limits    config.RateLimits
	log       *slog.Logger
}

// redisTimeout bounds one counting, as the client's own timeouts do for each of its tries.
const redisTimeout = 3 * time.Second

// redisPause is for how long Redis is not asked after it failed: requests wait for it one by one.
const redisPause = 5 * time.Second

func newLimiter(r *redis.Client, limits config.RateLimits, log *slog.Logger) *limiter {
	l := &limiter{redis: r, local: localCounter{windows: map[string]window{}}, limits: limits, log: log}
	l.redisAway.Store(&time.Time{})
	return l
}

// Windows of the limits.
const (
	loginWindow    = 15 * time.Minute
	registerWindow = time.Hour
	generalWindow  = time.Minute
	uploadWindow   = time.Hour
)

// general is the limit on all requests of a user, or of an address where nobody is logged in.
func (l *limiter) general(user uuid.UUID, address netip.Addr) limit {
	key := "general:user:" + user.String()
	if user == uuid.Nil {
		key = "general:address:" + addressKey(address)
		if isInside(address) {
			return limit{}
		}
	}
	return limit{key, l.limits.General, generalWindow}
}

// registrations is the limit on new accounts from an address.
func (l *limiter) registrations(address netip.Addr) limit {
	if isInside(address) {
		return limit{}
	}
	return limit{"register:address:" + addressKey(address), l.limits.Register, registerWindow}
}

// uploads is the limit on a user's uploads.
func (l *limiter) uploads(user uuid.UUID) limit {
	return limit{"upload:user:" + user.String(), l.limits.Upload, uploadWindow}
}

// admit counts a request and says in the answer's header how near it is to its limits; beyond one it returns a *problem. A limit
// without a maximum is none.
func (l *limiter) admit(ctx context.Context, h http.Header, limits ...limit) error {
	limits = slices.DeleteFunc(limits, func(l limit) bool { return l.maximum == 0 })
	if len(limits) == 0 {
		return nil
	}
	windows := l.windows(ctx, limits, true)
	header, _ := describe(limits, windows)
	maps.Copy(h, header)
	for i, w := range windows {
		if w.count > limits[i].maximum {
			p := newProblem(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Too many requests: wait as long as Retry-After says.")
			p.header = header
			p.header.Set("Retry-After", header.Get("RateLimit-Reset"))
			return p
		}
	}
	return nil
}

// attempt is a login of some account from some address, with the limits that it is under.
type attempt struct {
	limiter *limiter
	limits  []limit
}

// attempt returns what counts a login. Addresses are counted by themselves and together
// with the account, so that nobody can lock out others from elsewhere. An address inside
// the cluster's or office's network counts with the account only: it is likely a node or a
// proxy that all clients come through, and a limit on it would lock everyone out.
func (l *limiter) attempt(account string, address netip.Addr) attempt {
	subnet := addressKey(address)
	limits := []limit{{"login:account:" + subnet + ":" + account, l.limits.LoginAccount, loginWindow}}
	if !isInside(address) {
		limits = append(limits, limit{"login:address:" + subnet, l.limits.LoginAddress, loginWindow})
	}
	return attempt{l, slices.DeleteFunc(limits, func(l limit) bool { return l.maximum == 0 })}
}

// sharedAddresses lie between a provider's NAT and its customers (RFC 6598). Clouds give
// them to nodes and pods too.
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// isInside tells whether an address is one of a cluster's or an office's own network.
func isInside(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedAddresses.Contains(a)
}

// admit returns a *problem if one of the limits is reached.
func (a attempt) admit(ctx context.Context) error {
	header, left := describe(a.limits, a.limiter.windows(ctx, a.limits, false))
	if left > 0 {
		return nil
	}
	p := newProblem(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Too many failed logins: wait as long as Retry-After says.")
	p.header = header
	p.header.Set("Retry-After", header.Get("RateLimit-Reset"))
	return p
}

// failed counts a wrong password, and says in the answer to it how the limits are now.
func (a attempt) failed(ctx context.Context, answer *problem) {
	header, _ := describe(a.limits, a.limiter.windows(ctx, a.limits, true))
	maps.Copy(answer.header, header)
}

// window is the state of a count, and when it begins anew.
type window struct {
	count int
	ends  time.Time
}

// windows reads the counts, after adding one to each if asked to.
func (l *limiter) windows(ctx context.Context, limits []limit, add bool) []window {
	if len(limits) == 0 {
		return nil
	}
	now := time.Now()
	if now.After(*l.redisAway.Load()) {
		// Not with the request's end: a client that hangs up counts all the same, and says nothing about Redis.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
		defer cancel()
		windows, err := redisWindows(ctx, l.redis, limits, add)
		if err == nil {
			return windows
		}
		l.log.Warn("requests and failed logins are counted in this process only", "error", err)
		pause := now.Add(redisPause)
		l.redisAway.Store(&pause)
	}
	return l.local.windowsOf(limits, add, now)
}

// describe returns the RateLimit headers of the limit that is nearest, and how often it still allows it.
func describe(limits []limit, windows []window) (header http.Header, left int) {
	header, left = http.Header{}, 1
	for i, w := range windows {
		if remaining := max(0, limits[i].maximum-w.count); i == 0 || remaining < left {
			left = remaining
			header.Set("RateLimit-Limit", strconv.Itoa(limits[i].maximum))
			header.Set("RateLimit-Remaining", strconv.Itoa(remaining))
			header.Set("RateLimit-Reset", seconds(time.Until(w.ends)))
		}
	}
	return header, left
}

// addressKey is what is counted as one address: of IPv6 a whole /64, which one machine can have.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		prefix, _ := a.Prefix(64)
		return prefix.String()
	}
	return a.String()
}

// windowScript reads counts, and adds one to each before if ARGV[1] is 1. The arguments behind it are the keys' windows in ms. It
// returns each one's count and time to live, -2 if there is none.
var windowScript = redis.NewScript(`
local out = {}
for i, key in ipairs(KEYS) do
  if ARGV[1] == '1' and redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[i + 1]) end
  table.insert(out, tonumber(redis.call('GET', key) or 0))
  table.insert(out, redis.call('PTTL', key))
end
return out`)

func redisWindows(ctx context.Context, client *redis.Client, limits []limit, add bool) ([]window, error) {
	keys, arguments := make([]string, len(limits)), make([]any, len(limits)+1)
	arguments[0] = 0
	if add {
		arguments[0] = 1
	}
	for i, l := range limits {
		keys[i], arguments[i+1] = "assetplatform:"+l.key, l.window.Milliseconds()
	}
	out, err := windowScript.Run(ctx, client, keys, arguments...).Int64Slice()
	if err != nil {
		return nil, err
	}
	windows := make([]window, len(limits))
	for i, l := range limits {
		left := l.window
		if ttl := out[2*i+1]; ttl >= 0 {
			left = time.Duration(ttl) * time.Millisecond
		}
		windows[i] = window{count: int(out[2*i]), ends: time.Now().Add(left)}
	}
	return windows, nil
}

// localCounter does in this process what windowScript does in Redis.
type localCounter struct {
	mu      sync.Mutex
	windows map[string]window
	sweepAt int // how many counts make it drop those that ended
}

// localKeys is how many counts a localCounter holds at least before it drops those that ended.
const localKeys = 10_000

func (c *localCounter) windowsOf(limits []limit, add bool, now time.Time) []window {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.windows) > max(localKeys, c.sweepAt) {
		for key, w := range c.windows {
			if now.After(w.ends) {
				delete(c.windows, key)
			}
		}
		c.sweepAt = 2 * len(c.windows) // or each request would go through all of those that have not
	}
	windows := make([]window, len(limits))
	for i, l := range limits {
		w, found := c.windows[l.key]
		if !found || now.After(w.ends) {
			w = window{ends: now.Add(l.window)}
		}
		if add {
			w.count++
			c.windows[l.key] = w
		}
		windows[i] = w
	}
	return windows
}
