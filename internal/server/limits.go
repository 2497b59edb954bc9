package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/assetplatform/assetplatform/internal/config"
)

// loginWindow is the time in which failed logins are counted, from the first one on.
const loginWindow = 15 * time.Minute

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

// loginLimiter bounds how many wrong passwords can be tried. Failures are counted in
// Redis, so that all pods see them, and in this process while Redis is away.
type loginLimiter struct {
	redis     *redis.Client
	redisAway atomic.Pointer[time.Time] // until then Redis is not asked
	local     localCounter
	limits    config.RateLimits
	log       *slog.Logger
}

// redisPause is for how long Redis is not asked after it failed: logins wait for it one by one.
const redisPause = 5 * time.Second

func newLoginLimiter(r *redis.Client, limits config.RateLimits, log *slog.Logger) *loginLimiter {
	l := &loginLimiter{redis: r, local: localCounter{windows: map[string]window{}}, limits: limits, log: log}
	l.redisAway.Store(&time.Time{})
	return l
}

// attempt is a login of some account from some address, with the limits that it is under.
type attempt struct {
	limiter *loginLimiter
	keys    []string
	maxima  []int
}

// attempt returns what counts a login. Addresses are counted by themselves and together
// with the account, so that nobody can lock out others from elsewhere. An address inside
// the cluster's or office's network counts with the account only: it is likely a node or a
// proxy that all clients come through, and a limit on it would lock everyone out.
func (l *loginLimiter) attempt(account string, address netip.Addr) attempt {
	subnet := addressKey(address)
	a := attempt{limiter: l}
	add := func(key string, maximum int) {
		if maximum > 0 {
			a.keys, a.maxima = append(a.keys, key), append(a.maxima, maximum)
		}
	}
	add("login:account:"+subnet+":"+account, l.limits.LoginAccount)
	if !isInside(address) {
		add("login:address:"+subnet, l.limits.LoginAddress)
	}
	return a
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
	header, left := a.describe(a.windows(ctx, false))
	if left > 0 {
		return nil
	}
	p := newProblem(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Too many failed logins: wait as long as Retry-After says.")
	p.header = header
	p.header.Set("Retry-After", header.Get("RateLimit-Reset"))
	return p
}

// failed counts a wrong password and returns the answer to it, which says how the limits are now.
func (a attempt) failed(ctx context.Context) error {
	p := wrongCredentials()
	header, _ := a.describe(a.windows(ctx, true))
	maps.Copy(p.header, header)
	return p
}

// window is the state of a count, and when it begins anew.
type window struct {
	count int
	ends  time.Time
}

// windows reads the counts, after adding one to each if asked to.
func (a attempt) windows(ctx context.Context, add bool) []window {
	if len(a.keys) == 0 {
		return nil
	}
	now := time.Now()
	if now.After(*a.limiter.redisAway.Load()) {
		windows, err := redisWindows(ctx, a.limiter.redis, a.keys, add)
		if err == nil {
			return windows
		}
		a.limiter.log.Warn("failed logins are counted in this process only", "error", err)
		pause := now.Add(redisPause)
		a.limiter.redisAway.Store(&pause)
	}
	return a.limiter.local.windowsOf(a.keys, add, now)
}

// describe returns the RateLimit headers of the limit that is nearest, and how many
// failures it still allows.
func (a attempt) describe(windows []window) (header http.Header, left int) {
	header, left = http.Header{}, 1
	for i, w := range windows {
		if remaining := max(0, a.maxima[i]-w.count); i == 0 || remaining < left {
			left = remaining
			header.Set("RateLimit-Limit", strconv.Itoa(a.maxima[i]))
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

// windowScript reads counts, and adds one to each before if ARGV[1] is 1. ARGV[2] is the
// window in ms. It returns each one's count and time to live, -2 if there is none.
var windowScript = redis.NewScript(`
local out = {}
for _, key in ipairs(KEYS) do
  if ARGV[1] == '1' and redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[2]) end
  table.insert(out, tonumber(redis.call('GET', key) or 0))
  table.insert(out, redis.call('PTTL', key))
end
return out`)

func redisWindows(ctx context.Context, client *redis.Client, keys []string, add bool) ([]window, error) {
	prefixed := make([]string, len(keys))
	for i, key := range keys {
		prefixed[i] = "assetplatform:" + key
	}
	flag := 0
	if add {
		flag = 1
	}
	out, err := windowScript.Run(ctx, client, prefixed, flag, loginWindow.Milliseconds()).Int64Slice()
	if err != nil {
		return nil, err
	}
	windows := make([]window, len(keys))
	for i := range windows {
		left := loginWindow
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
}

// localKeys is how many counts a localCounter holds before it drops those that ended.
const localKeys = 10_000

func (c *localCounter) windowsOf(keys []string, add bool, now time.Time) []window {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.windows) > localKeys {
		for key, w := range c.windows {
			if now.After(w.ends) {
				delete(c.windows, key)
			}
		}
	}
	windows := make([]window, len(keys))
	for i, key := range keys {
		w, found := c.windows[key]
		if !found || now.After(w.ends) {
			w = window{ends: now.Add(loginWindow)}
		}
		if add {
			w.count++
			c.windows[key] = w
		}
		windows[i] = w
	}
	return windows
}
