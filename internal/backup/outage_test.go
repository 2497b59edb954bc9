package backup

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/test/services"
)

// outage answers requests of some kinds with an error of the service's, as often as it is told to.
type outage struct {
	status int
	code   string

	mu   sync.Mutex
	seen map[string]int // requests by kind, since begin
	left func(kind string, seen int) bool
}

func newOutage(status int, code string) *outage { return &outage{status: status, code: code} }

// begin has the requests answered with an error for which left is true, of their kind and their number from 1 on.
func (o *outage) begin(left func(kind string, seen int) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen, o.left = map[string]int{}, left
}

// kinds are those of the requests that came since begin.
func (o *outage) kinds() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for kind := range o.seen {
		all = append(all, kind)
	}
	slices.Sort(all)
	return all
}

func (o *outage) see(w http.ResponseWriter, r *http.Request) bool {
	kind := kindOf(r)
	o.mu.Lock()
	o.seen[kind]++
	fails := o.left(kind, o.seen[kind])
	o.mu.Unlock()
	if fails {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(o.status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test says</Message></Error>", o.code)
	}
	return fails
}

var names = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}|[0-9a-f]{2}/[-0-9a-f]{32,}|/(bucket|into)-\d+`)

// kindOf tells what a request is about, whichever set or blob it is.
func kindOf(r *http.Request) string {
	query := r.URL.Query()
	kind := r.Method + " " + r.URL.Path
	switch {
	case query.Has("list-type"):
		kind = "LIST " + strings.TrimRight(query.Get("prefix"), hexDigits) // whichever part
	case query.Has("uploads"):
		kind += " begin"
	case query.Has("partNumber"):
		kind += " part"
	case query.Has("uploadId"):
		kind += " end"
	case r.Header.Get("X-Amz-Copy-Source") != "":
		kind += " copy"
	}
	return names.ReplaceAllString(kind, "*")
}

func never(string, int) bool { return false }

// work is what one does with a destination; each part succeeds if nothing is in its way.
type work struct {
	t        *testing.T
	p        *platform
	direct   Destination // past the faults
	settings config.Bucket
	sealed   *age.X25519Identity
	from     config.Bucket // the assets' bucket
	into     config.Bucket // that of assets that are restored
	restores int
}

// destination is new each time: a client that met with too many errors does not ask again any more.
func (w *work) destination() Destination { return impatient(w.t, w.settings, 10*time.Second) }

func (w *work) create() (err error) {
	content := fmt.Appendf(nil, "%d %s", w.p.made, strings.Repeat("new", 100))
	o := w.p.options(w.destination())
	if w.sealed != nil {
		o.Recipients = append(o.Recipients, w.sealed.Recipient())
		content = append(content, make([]byte, 6<<20)...) // several parts
	}
	w.p.upload(w.p.users[0], content)
	if o.Bucket, err = objectstore.NewWith(w.t.Context(), w.from, nil, patience(10*time.Second)); err != nil {
		w.t.Fatal(err)
	}
	_, err = Create(w.t.Context(), o)
	return err
}

func (w *work) verify() error {
	d := w.destination()
	l, err := d.List(w.t.Context())
	if err == nil {
		_, err = d.Verify(w.t.Context(), l.Sets[0].ID, VerifyOptions{})
	}
	return err
}

func (w *work) prune() error {
	for n, _ := sets(w.t, w.direct); n < 3; n++ {
		w.p.backUp(w.direct)
	}
	_, err := w.destination().Prune(w.t.Context(), PruneOptions{Retention: Retention{Minimum: 2}, Log: discard, delay: -1})
	return err
}

func (w *work) restore() error {
	pg := services.SharedPostgres(w.t)
	w.restores++
	w.into.Prefix = fmt.Sprintf("into-%d/", w.restores)
	bucket, err := objectstore.NewWith(w.t.Context(), w.into, nil, patience(10*time.Second))
	if err != nil {
		w.t.Fatal(err)
	}
	o := RestoreOptions{Destination: w.destination(), DatabaseURL: pg.URL(pg.Empty(w.t)), Bucket: bucket, Name: "studio", Log: discard}
	if w.sealed != nil {
		o.Identities = append(o.Identities, w.sealed)
	}
	_, err = Restore(w.t.Context(), o)
	return err
}

// A service that cannot answer is asked again, and one that never can is an error that says so; what is there stays whole.
func TestServiceErrors(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} { // copied by the service, and not
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			settings, d := archive(t)
			faults := newOutage(http.StatusServiceUnavailable, "SlowDown")
			faults.begin(never)
			w := &work{t: t, p: p, direct: d, settings: settings, from: p.settings, into: services.SharedS3(t).Bucket(t)}
			w.settings.Endpoint = services.Front(t, settings.Endpoint, faults.see)
			w.into.Endpoint = w.settings.Endpoint
			if sealed {
				w.sealed = newIdentity(t)
			} else {
				w.from.Endpoint = w.settings.Endpoint
			}
			p.fill(2)
			for range 2 { // what prune has to remove
				if err := w.create(); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"create", "verify", "restore", "prune"} {
				do := map[string]func() error{"create": w.create, "verify": w.verify, "restore": w.restore, "prune": w.prune}[name]
				faults.begin(func(kind string, seen int) bool { return seen <= 2 && !asksOnce(kind) })
				if err := do(); err != nil {
					t.Errorf("%s, each kind of request answered at the third time: %v", name, err)
				}
				for _, kind := range faults.kinds() {
					if asksOnce(kind) || sealed && !strings.Contains(kind, "blobs/") { // the others are those of any set
						continue
					}
					faults.begin(func(k string, _ int) bool { return k == kind })
					began := time.Now()
					err := do()
					if !slices.Contains(faults.kinds(), kind) {
						continue // it comes where a run before has failed
					}
					if text := fmt.Sprint(err); !strings.Contains(text, "SlowDown") && !strings.Contains(text, "503") || time.Since(began) > time.Minute {
						t.Errorf("%s without %s, after %s: %v", name, kind, time.Since(began), err)
					}
					faults.begin(never)
					wholeOrNone(t, d)
				}
			}
			if err := w.create(); err != nil {
				t.Error(err)
			}
			wholeOrNone(t, d)
		})
	}
}

// asksOnce tells whether a request is one of those with which a bucket of assets is claimed.
func asksOnce(kind string) bool {
	return strings.Contains(kind, "platform-id") || strings.Contains(kind, "rights-check")
}

// wholeOrNone fails the test unless all that is listed is whole.
func wholeOrNone(t *testing.T, d Destination) {
	t.Helper()
	l, err := d.List(t.Context())
	if err != nil || len(l.Bad) > 0 {
		t.Fatalf("%v, %v", l.Bad, err)
	}
	for _, s := range l.Sets {
		if !s.Verified() {
			if _, err := d.Verify(t.Context(), s.ID, VerifyOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}
