package backup

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// requestTime is how long the server may take for one answer.
const requestTime = 2 * time.Minute

// looked are what the server is asked for besides the assets.
var looked = []string{"/api/auth/profile", "/api/assets", "/api/assets/tags", "/api/assets/categories", "/api/projects", "/api/audit"}

// serve has a server serve the database, with the bytes from the destination, lists what is there and downloads the newest assets.
func (d *drill) serve(ctx context.Context) error {
	db, err := store.Open(d.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	failed := func(err error) error {
		return d.fails(config.CodeDrillServeFailed, "see what the server says; was the database changed by hand?", "%v", err)
	}
	if err := db.PrepareDrill(ctx); err != nil {
		return failed(err)
	}
	bucket, end, err := d.serveBucket(ctx, db)
	if err != nil {
		return err
	}
	defer end()
	server, err := d.startServer(ctx, bucket)
	if err != nil {
		return failed(err)
	}
	defer server.stop()
	if err := server.await(ctx); err != nil {
		return failed(err)
	}
	for i, asset := range d.assets {
		key := "ap_" + crand.Text()
		if _, err := db.CreateAPIKey(ctx, asset.UserID, store.NewAPIKey{Name: drillID, Key: key, Scopes: []string{store.ScopeRead}}); err != nil {
			return failed(err)
		}
		path := "/api/assets/" + asset.ID.String()
		paths := []string{path, path + "/versions"}
		if i == 0 || asset.UserID != d.assets[0].UserID {
			paths = append(paths, looked...)
		}
		asked, within := errgroup.WithContext(ctx)
		for _, path := range paths {
			asked.Go(func() error {
				_, err := server.get(within, key, path)
				return err
			})
		}
		if err := asked.Wait(); err != nil {
			return failed(err)
		}
		d.done.Served = append(d.done.Served, paths...)
		sum, err := server.get(ctx, key, path+"/download")
		if err == nil && sum != asset.SHA256 {
			err = fmt.Errorf("the download of asset %s has the SHA-256 %s", asset.ID, hex.EncodeToString(sum[:]))
		}
		if err != nil {
			return failed(err)
		}
		d.done.Served = append(d.done.Served, path+"/download")
	}
	return nil
}

// serveBucket serves the set's blobs as a bucket, on this machine.
func (d *drill) serveBucket(ctx context.Context, db *store.Store) (bucket config.Bucket, end func(), err error) {
	view := &objectstore.View{
		Name: "drill", AccessKey: crand.Text(), Owner: d.restoration.set.Platform.ID.String(),
		Open: func(ctx context.Context, key string, offset int64) (io.ReadCloser, int64, error) {
			return d.openObject(ctx, db, key, offset)
		},
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return bucket, nil, err
	}
	server := &http.Server{Handler: view, ReadHeaderTimeout: requestTime}
	go func() { _ = server.Serve(l) }() // until it is closed
	bucket = config.Bucket{Name: view.Name, Region: "us-east-1", Endpoint: "http://" + l.Addr().String(), AccessKey: view.AccessKey, SecretKey: crand.Text()}
	return bucket, func() { _ = server.Close() }, nil // nobody asks any more
}

// openObject opens what the destination has of an object of the bucket.
func (d *drill) openObject(ctx context.Context, db *store.Store, key string, offset int64) (io.ReadCloser, int64, error) {
	row, err := db.BlobOf(ctx, key)
	if errors.Is(err, store.ErrNotFound) { // a thumbnail
		return nil, 0, objectstore.ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	c := content{sum: objectstore.Sum{Size: row.Size, SHA256: row.SHA256}}
	body, err := d.restoration.openBlob(ctx, blobKey(row.SHA256, d.restoration.set.Encrypted), c)
	if err != nil {
		return nil, 0, err
	}
	if _, err := io.CopyN(io.Discard, body, offset); err != nil {
		return nil, 0, errors.Join(err, body.Close())
	}
	return body, row.Size, nil
}

// process is a server of ours.
type process struct {
	cmd     *exec.Cmd
	said    tail
	done    chan struct{} // closed when it has ended
	address string
}

// startServer starts one that knows nothing but this database and this bucket.
func (d *drill) startServer(ctx context.Context, bucket config.Bucket) (*process, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	p := &process{done: make(chan struct{}), address: "http://127.0.0.1:" + strconv.Itoa(ports[0])}
	p.cmd = exec.CommandContext(ctx, d.Program, config.CommandServer)
	for name, value := range map[config.Var]string{
		config.Port: strconv.Itoa(ports[0]), config.MetricsPortVar: strconv.Itoa(ports[1]), config.LogLevel: "warn",
		config.DatabaseURL: d.DatabaseURL, config.RedisURL: "redis://127.0.0.1:1", // nobody is there: it holds what may be lost
		config.JWTSecret: crand.Text() + crand.Text(), config.RateLimitGeneral: "0",
		config.S3Bucket: bucket.Name, config.S3Region: bucket.Region, config.S3Endpoint: bucket.Endpoint, config.S3AccessKey: bucket.AccessKey, config.S3SecretKey: bucket.SecretKey,
	} {
		p.cmd.Env = append(p.cmd.Env, name.Name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // we end it
		close(p.done)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// await returns once the server is ready.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverStart)
	defer cancel()
	for {
		_, err := p.get(ctx, "", config.PathReady)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server has ended: %s", &p.said)
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w: %s", err, &p.said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get asks the server for a path, and tells the SHA-256 of what it answers.
func (p *process) get(ctx context.Context, key, path string) (sum [sha256.Size]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.address+path, nil)
	if err != nil {
		return sum, err
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return sum, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, tailBytes)) // as much as comes
		return sum, fmt.Errorf("%s: %s: %s; the server's log: %s", path, answer.Status, text, &p.said)
	}
	h := sha256.New()
	if _, err := io.Copy(h, answer.Body); err != nil {
		return sum, fmt.Errorf("%s: %w", path, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
