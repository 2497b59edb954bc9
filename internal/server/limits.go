package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/assetplatform/assetplatform/internal/config"
)

// loginWindow is the time in which failed logins are counted, from the first one on.
const loginWindow = 15 * time.Minute

// loginLimiter bounds how many passwords can be tried. An attempt counts before its
// password is looked at, so that a hundred at the same time are not checked a hundred
// times, and is taken back when the password was right.
type loginLimiter struct {
	redis  *redis.Client
	local  localCounter // while Redis is away
	limits config.RateLimits
	log    *slog.Logger
}

func newLoginLimiter(r *redis.Client, limits config.RateLimits, log *slog.Logger) *loginLimiter {
	return &loginLimiter{redis: r, local: localCounter{windows: map[string]window{}}, limits: limits, log: log}
}

// limit is one count that must not pass its maximum.
type limit struct {
	key string
	max int
}

// window is the state of a count: how much of it is used, and when it begins anew.
type window struct {
	count int
	ends  time.Time
}

// begin counts an attempt on the account from the address. The refusal is a *problem;
// forget takes the attempt back. header describes the tighter limit.
func (l *loginLimiter) begin(ctx context.Context, account string, address netip.Addr) (forget func(), header http.Header, refusal error) {
	subnet := addressKey(address)
	var limits []limit
	if l.limits.LoginAccount > 0 {
		limits = append(limits, limit{"login:account:" + subnet + ":" + account, l.limits.LoginAccount})
	}
	if l.limits.LoginAddress > 0 {
		limits = append(limits, limit{"login:address:" + subnet, l.limits.LoginAddress})
	}
	windows, ok, forget := l.take(ctx, limits)
	header = http.Header{}
	tightest := -1
	for i, w := range windows {
		if tightest < 0 || limits[i].max-w.count < limits[tightest].max-windows[tightest].count {
			tightest = i
		}
	}
	if tightest >= 0 {
		w := windows[tightest]
		header.Set("RateLimit-Limit", strconv.Itoa(limits[tightest].max))
		header.Set("RateLimit-Remaining", strconv.Itoa(max(0, limits[tightest].max-w.count)))
		header.Set("RateLimit-Reset", seconds(time.Until(w.ends)))
	}
	if !ok {
		p := newProblem(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Too many failed logins: wait as long as Retry-After says.")
		p.header = header.Clone()
		p.header.Set("Retry-After", header.Get("RateLimit-Reset"))
		return forget, header, p
	}
	return forget, header, nil
}

func (l *loginLimiter) take(ctx context.Context, limits []limit) (windows []window, ok bool, forget func()) {
	if len(limits) == 0 {
		return nil, true, func() {}
	}
	windows, ok, err := takeRedis(ctx, l.redis, limits)
	if err == nil {
		return windows, ok, func() {
			if err := forgetRedis(context.WithoutCancel(ctx), l.redis, limits); err != nil {
				l.log.Warn("a successful login counts as a failed one", "error", err)
			}
		}
	}
	windows, ok = l.local.take(limits, time.Now())
	return windows, ok, func() { l.local.forget(limits) }
}

// addressKey is what is counted as one address: of IPv6 a whole /64, which one machine can have.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		prefix, _ := a.Prefix(64)
		return prefix.String()
	}
	return a.String()
}

const redisPrefix = "assetplatform:"

// takeScript counts each key up, unless one of them has reached its maximum. KEYS are
// the counts, ARGV the window in ms and then each one's maximum. It returns 1 if
// counted, and each one's count and time to live.
var takeScript = redis.NewScript(`
local counted = 1
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) >= tonumber(ARGV[i + 1]) then counted = 0 end
end
local out = {counted}
for _, key in ipairs(KEYS) do
  if counted == 1 and redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[1]) end
  table.insert(out, tonumber(redis.call('GET', key) or 0))
  table.insert(out, redis.call('PTTL', key))
end
return out`)

var forgetScript = redis.NewScript(`
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) > 0 then redis.call('DECR', key) end
end`)

func takeRedis(ctx context.Context, client *redis.Client, limits []limit) ([]window, bool, error) {
	args := []any{loginWindow.Milliseconds()}
	for _, l := range limits {
		args = append(args, l.max)
	}
	out, err := takeScript.Run(ctx, client, redisKeys(limits), args...).Int64Slice()
	if err != nil {
		return nil, false, err
	}
	windows := make([]window, len(limits))
	for i := range windows {
		left := time.Duration(max(0, out[2+2*i])) * time.Millisecond
		windows[i] = window{count: int(out[1+2*i]), ends: time.Now().Add(left)}
	}
	return windows, out[0] == 1, nil
}

func forgetRedis(ctx context.Context, client *redis.Client, limits []limit) error {
	err := forgetScript.Run(ctx, client, redisKeys(limits)).Err()
	if err == redis.Nil { // the script returns nothing
		return nil
	}
	return err
}

func redisKeys(limits []limit) []string {
	keys := make([]string, len(limits))
	for i, l := range limits {
		keys[i] = redisPrefix + l.key
	}
	return keys
}

// localCounter does in this process what takeScript does in Redis.
type localCounter struct {
	mu      sync.Mutex
	windows map[string]window
}

// localKeys bounds the memory of a localCounter; beyond it the counts that ended are dropped.
const localKeys = 10_000

func (c *localCounter) take(limits []limit, now time.Time) ([]window, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.windows) > localKeys {
		for key, w := range c.windows {
			if now.After(w.ends) {
				delete(c.windows, key)
			}
		}
	}
	windows := make([]window, len(limits))
	ok := true
	for i, l := range limits {
		w, found := c.windows[l.key]
		if !found || now.After(w.ends) {
			w = window{ends: now.Add(loginWindow)}
		}
		windows[i] = w
		ok = ok && w.count < l.max
	}
	for i, l := range limits {
		if ok {
			windows[i].count++
			c.windows[l.key] = windows[i]
		}
	}
	return windows, ok
}

func (c *localCounter) forget(limits []limit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range limits {
		if w, ok := c.windows[l.key]; ok && w.count > 0 {
			w.count--
			c.windows[l.key] = w
		}
	}
}
