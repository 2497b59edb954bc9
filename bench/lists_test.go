package bench

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/test/services"
)

const (
	listPage      = 20
	leastOverPeer = 1.0 // our lists' rate over PocketBase's
)

// listOwners share the assets: the first has one of a hundred, the second has the others.
var listOwners = []string{"small", "large"}

func listOwner(i int) int { return min(i%100, 1) }

// BenchmarkLists asks the real binary for the newest 20 assets of the user who asks, and PocketBase for the same rows, in turn and by
// as many clients. Both have a million rows of two users and the indexes of the columns that lists are sorted by; PocketBase has a list
// rule that lets users see their own. LIBRARY_ASSETS makes fewer of them.
//
// What differs: PocketBase reads SQLite in its own process, while we ask PostgreSQL for the rows, and Redis for the limits, which
// PocketBase has none of unless asked to. We count up to 1,000 rows and estimate the others, with every page; PocketBase counts all of them, or none: the ratio
// over-peer is to the latter, and over-counting-peer to the former. Our rows also have an index for searches, which PocketBase cannot
// have, and our pages tell the projects of each asset; PocketBase's trash would be a filter of the client's.
func BenchmarkLists(b *testing.B) {
	rows := libraryAssets(b)
	pg := services.NewPostgres(b, "shared_buffers=1GB")
	env := environmentOn(b, pg)
	server := startServer(b, build(b), env, farLimits...)
	defer server.stop(b)
	l := &library{b: b, url: server.url}
	var users []uuid.UUID
	for _, name := range listOwners {
		users = append(users, l.register(name))
	}
	began := time.Now()
	fillLibrary(b, env, rows, func(i int) uuid.UUID { return users[listOwner(i)] })
	b.Logf("PostgreSQL filled in %s", time.Since(began).Round(time.Second))
	began = time.Now()
	peer := newPocketBase(b, rows)
	b.Logf("PocketBase filled in %s", time.Since(began).Round(time.Second))

	ourURL := fmt.Sprintf("%s/api/assets?limit=%d", l.url, listPage)
	peerURL := fmt.Sprintf("%s/api/collections/assets/records?perPage=%d&sort=-created,-id", peer.url, listPage)
	for _, name := range listOwners {
		l.login(name)
		token := peer.login(b, name)
		sameList(b, ourURL, l.token, peerURL, token)
		for _, clients := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) {
				ask := func(url, authorization string) *side {
					return &side{do: func(int) error { return get(url, -1, "Authorization", authorization) }}
				}
				ours, theirs, counting := ask(ourURL, "Bearer "+l.token), ask(peerURL+"&skipTotal=1", token), ask(peerURL, token)
				race(b, clients, map[string]int{"client": os.Getpid(), "server": server.pid(), "postgres": pg.PID(), "peer": peer.command.Process.Pid}, ours, theirs, counting)
				b.ReportMetric(ours.rate(), "lists/s")
				b.ReportMetric(theirs.rate(), "peer-lists/s")
				b.ReportMetric(counting.rate(), "counting-peer-lists/s")
				b.ReportMetric(ours.over(theirs), "over-peer")
				b.ReportMetric(leastOverPeer/ours.over(theirs), "over-peer/limit")
				b.ReportMetric(ours.over(counting), "over-counting-peer")
				b.ReportMetric(milliseconds(ours.cpu["server"]), "server-cpu-ms")
				b.ReportMetric(milliseconds(ours.cpu["postgres"]), "postgres-cpu-ms")
				b.ReportMetric(milliseconds(theirs.cpu["peer"]), "peer-cpu-ms")
				b.ReportMetric(0, "ns/op") // says nothing here
			})
		}
	}
}

// sameList fails where the two do not list the same assets.
func sameList(b *testing.B, ourURL, ourToken, peerURL, peerToken string) {
	b.Helper()
	type item struct{ OriginalName string }
	var ours struct{ Data []item }
	var theirs struct{ Items []item }
	getJSON(b, ourURL, "Bearer "+ourToken, &ours)
	getJSON(b, peerURL, peerToken, &theirs)
	if len(ours.Data) != listPage || !slices.Equal(ours.Data, theirs.Items) {
		b.Fatalf("not the same list: %v and %v", ours.Data, theirs.Items)
	}
}

func getJSON(b *testing.B, url, authorization string, into any) {
	b.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	answer, err := browser.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
}

// pocketBase is PocketBase, serving.
type pocketBase struct {
	url     string
	command *exec.Cmd
}

// newPocketBase fills a PocketBase with the rows of a library and starts it.
func newPocketBase(b *testing.B, rows int) *pocketBase {
	b.Helper()
	program, data := built(b, "pocketbase", "pocketbase"), filepath.Join(b.TempDir(), "data")
	fill := exec.Command(program, append([]string{"fill", "--dir", data, password}, listOwners...)...)
	in, err := fill.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	log := &services.Log{}
	fill.Stdout, fill.Stderr = log, log
	if err := fill.Start(); err != nil {
		b.Fatal(err)
	}
	const layout = "2006-01-02 15:04:05.000Z"
	lines, next, sha := json.NewEncoder(in), assetRows(), hex.EncodeToString(make([]byte, 32))
	for i := range rows {
		a := next(i)
		line := []any{listOwner(i), sha, a.name, a.kind, a.mime, a.size, 1, a.tags, a.category, a.created.Format(layout), a.updated.Format(layout)}
		if err := lines.Encode(line); err != nil {
			break // it says why
		}
	}
	in.Close()
	if err := fill.Wait(); err != nil {
		b.Fatalf("fill PocketBase: %v\n%s", err, log)
	}
	address := fmt.Sprintf("127.0.0.1:%d", services.FreePort(b))
	p := &pocketBase{"http://" + address, exec.Command(program, "serve", "--dir", data, "--http", address)}
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); get(p.url+"/api/health", -1) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("PocketBase does not answer")
		}
	}
	return p
}

// login returns a token.
func (p *pocketBase) login(b *testing.B, name string) string {
	b.Helper()
	var session struct{ Token string }
	post(b, p.url+"/api/collections/users/auth-with-password", map[string]string{"identity": name + "@example.com", "password": password}, &session)
	return session.Token
}
