package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	drillsFolder = "drills/"
	// drillID is the id of the restore that a drill makes: by it the next one knows what one that was killed has left.
	drillID = "a drill"
)

// DrillOptions say what to restore, for a trial.
type DrillOptions struct {
	Destination Destination
	Set         string // id; empty: the newest verified set
	Identities  []age.Identity
	// DatabaseURL is an empty database, which is empty again afterwards; empty: a PostgreSQL server of its own is started.
	DatabaseURL string
	// Live are databases of the platform: none of them is touched.
	Live    []string
	Sample  int    // how many blobs are read
	Program string // assetplatform's own, for its server

	Workers int
	Tool    string
	Log     *slog.Logger
	Report  func(Progress)

	programs programs
	step     func(name string)
}

// Drilled is what Drill did.
type Drilled struct {
	Set          string      `json:"set"`
	SnapshotTime time.Time   `json:"snapshotTime"`
	Steps        []DrillStep `json:"steps"`
	// Seconds are from the beginning to the downloads, without the sample, which a restore does not take. The bytes are served from where
	// they are: a restore copies BlobBytes into the bucket before, for which CopySeconds stand: as long as at BytesPerSecond.
	Seconds        float64  `json:"seconds"`
	CopySeconds    float64  `json:"copySeconds"`
	Rows           int64    `json:"rows"`
	BlobBytes      int64    `json:"blobBytes"` // of the set
	Sampled        int64    `json:"sampled"`   // blobs that were read
	SampledBytes   int64    `json:"sampledBytes"`
	BytesPerSecond float64  `json:"bytesPerSecond"` // with which they were read
	Served         []string `json:"served"`         // what the server was asked for
}

// DrillStep is how long a part of it took.
type DrillStep struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// DrillRecord tells of a drill, in the destination.
type DrillRecord struct {
	Set          string      `json:"set,omitempty"`
	SnapshotTime time.Time   `json:"snapshotTime,omitzero"`
	Time         time.Time   `json:"time"`
	Seconds      float64     `json:"seconds,omitempty"` // as in Drilled
	Code         config.Code `json:"code"`              // OK, or why it failed
	Message      string      `json:"message,omitempty"`
	Tool         string      `json:"tool"`
}

// drill is one run of Drill.
type drill struct {
	DrillOptions
	restoration *restoration
	done        Drilled
	assets      []store.DrillAsset // that are to be served
	always      []content          // that are read
	sample      []content          // beside those
}

// Drill restores a set into a database of its own, looks whether all is there that should be, and has a server serve it, which takes the
// bytes from the destination. It touches nothing of the platform, and leaves a record in the destination. What it finds wrong is a
// *store.Problem.
func Drill(ctx context.Context, o DrillOptions) (Drilled, error) {
	if o.step == nil {
		o.step = func(string) {}
	}
	if o.Report == nil {
		o.Report = func(Progress) {}
	}
	if o.Workers == 0 {
		o.Workers = defaultWorkers
	}
	d := &drill{DrillOptions: o, restoration: &restoration{RestoreOptions: RestoreOptions{
		Destination: o.Destination, Identities: o.Identities, DatabaseURL: o.DatabaseURL, Report: o.Report, programs: o.programs,
	}}}
	err := d.run(ctx)
	if ctx.Err() != nil {
		return d.done, err
	}
	record := DrillRecord{Set: d.done.Set, SnapshotTime: d.done.SnapshotTime, Time: time.Now().UTC(), Code: config.CodeOK, Seconds: d.done.Seconds, Tool: o.Tool}
	if err != nil {
		record.Code = codeOf(err)
		if !d.restoration.set.Encrypted { // it may tell of what is in the set
			record.Message = err.Error()
		}
	}
	return d.done, errors.Join(err, o.Destination.leave(ctx, drillsFolder, record))
}

// run is the drill. Its own failures have codes of their own, so that each can be told.
func (d *drill) run(ctx context.Context) error {
	set, err := d.Destination.choose(ctx, d.Set, time.Time{}, nil)
	if err != nil {
		return err
	}
	d.restoration.set = set
	d.done = Drilled{Set: set.ID, SnapshotTime: set.SnapshotTime, BlobBytes: set.Blobs.Bytes}
	if err := d.restoration.needIdentity(); err != nil {
		return err
	}
	began, aside := time.Now(), time.Duration(0)
	end := func() {}
	defer func() { end() }()
	parts := []struct {
		name string
		work func(context.Context) error
	}{
		{"postgres", func(ctx context.Context) (err error) { end, err = d.takeDatabase(ctx); return err }},
		{"database", d.restoreDatabase},
		{"compare", d.compare},
		{"blobs", d.lookForBlobs},
		{"sample", d.readSample},
		{"serve", d.serve},
	}
	for i, part := range parts {
		d.step(part.name)
		d.Report(Progress{Step: part.name, Done: int64(i) + 1, Total: int64(len(parts)), Unit: "steps"})
		start := time.Now()
		err := part.work(ctx)
		took := time.Since(start)
		d.done.Steps = append(d.done.Steps, DrillStep{part.name, took.Seconds()})
		if ctx.Err() != nil { // whatever else went wrong for it
			return fmt.Errorf("the drill was ended in step %s: %w", part.name, ctx.Err())
		}
		if err != nil {
			return err
		}
		if part.name == "sample" {
			aside = took
		}
	}
	d.done.Seconds = (time.Since(began) - aside).Seconds()
	d.step("end")
	return nil
}

func codeOf(err error) config.Code {
	var problem *store.Problem
	switch {
	case errors.As(err, &problem):
		return problem.Code
	case errors.Is(err, objectstore.ErrUnavailable):
		return config.CodeDestinationUnavailable
	}
	return config.CodeBackupFailed
}

// LastDrill is the newest record of a drill; ErrNoSet if there is none.
func (d Destination) LastDrill(ctx context.Context) (r DrillRecord, err error) {
	newest := ""
	for o, err := range d.documents(ctx, drillsFolder) {
		if err != nil {
			return r, err
		}
		newest = o.Key
	}
	if newest == "" {
		return r, fmt.Errorf("%w: none was drilled", ErrNoSet)
	}
	return r, d.readJSON(ctx, newest, &r)
}
