package bench

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// What backups may take, over what the faster of two programs takes that copy buckets and know no database.
const (
	limitFirstCopy = 1.1
	limitNoOp      = 1.0
	limitVerify    = 1.0

	limitDump         = 1.2              // over pg_dump alone
	limitBackupGrowth = 24 << 20         // bytes of memory that a hundred times as many blobs take; the collector makes ten of them more or less
	limitDrill        = 15 * time.Second // of a studio's database and bucket

	backupRounds  = 3
	backupWorkers = 16 // as many blobs at a time as assetplatform copies
	// studioAssets are as many rows as make a database of 450 MB.
	studioAssets = 235_000
)

// postgresPrograms is where they are: Debian's own of the same names are wrappers in Perl.
const postgresPrograms = "/usr/lib/postgresql/15/bin"

// backups is a platform whose database and bucket are backed up by the real binary.
type backups struct {
	program  string
	env      []string // for the program, without the destination
	source   config.Bucket
	contents []content
	owner    uuid.UUID
}

func newBackups(b *testing.B, program string, pg *services.Postgres) *backups {
	b.Helper()
	p := &backups{program: program, env: append(environmentOn(b, pg), "PATH="+postgresPrograms+":"+os.Getenv("PATH"))}
	p.source = config.Bucket{
		Name: setting(p.env, "S3_BUCKET_NAME"), Region: "us-east-1", Endpoint: setting(p.env, "S3_ENDPOINT"),
		AccessKey: setting(p.env, "S3_ACCESS_KEY"), SecretKey: setting(p.env, "S3_SECRET_KEY"),
	}
	db, err := store.Open(setting(p.env, config.DatabaseURL.Name))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	user, err := db.CreateUser(b.Context(), store.NewUser{Email: "artist@example.com", Username: "artist", PasswordHash: "x"})
	if err != nil {
		b.Fatal(err)
	}
	p.owner = user.ID
	return p
}

// put stores objects of these sizes in the bucket, of bytes that are always the same ones.
func (p *backups) put(b *testing.B, sizes []int64) {
	b.Helper()
	p.contents = make([]content, len(sizes))
	client := services.SharedS3(b).Client()
	all, ctx := errgroup.WithContext(b.Context())
	all.SetLimit(2 * backupWorkers)
	for i, size := range sizes {
		all.Go(func() error {
			body := make([]byte, size)
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}).Read(body) // never fails
			key := fmt.Sprintf("blobs/%02x/%d", i%256, i)                                     // in folders, as the server's
			p.contents[i] = content{sha256.Sum256(body), size, key}
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &p.source.Name, Key: &key, Body: bytes.NewReader(body)})
			return err
		})
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
}

// fill makes so many assets of the contents of the bucket.
func (p *backups) fill(b *testing.B, rows int) {
	b.Helper()
	fillLibraryOf(b, p.env, rows, func(int) uuid.UUID { return p.owner }, p.contents)
}

// studioSizes are those of 2,008 objects, of 288 MiB: pictures of up to 188 KiB, and eight sounds.
func studioSizes() (sizes []int64) {
	const pictures, picture, sounds, sound = 2000, 96 << 10, 8, 201 << 16
	random := rand.New(rand.NewPCG(5, 6))
	for range pictures / 2 {
		more := random.Int64N(picture - 4<<10)
		sizes = append(sizes, picture-more, picture+more)
	}
	return append(sizes, slices.Repeat([]int64{sound}, sounds)...)
}

// ran is what one run of the program told.
type ran struct {
	set    backup.Set
	took   time.Duration
	began  map[string]time.Duration // when the first of each step was done, since the start
	ended  map[string]time.Duration // and the last
	memory int64                    // bytes at the most
}

// command prepares a subcommand of backup, with a destination.
func (p *backups) command(destination config.Bucket, args ...string) *exec.Cmd {
	cmd := exec.Command(p.program, append([]string{config.CommandBackup, "--output=json"}, args...)...)
	cmd.Env = append(slices.Clone(p.env),
		config.BackupBucket.Name+"="+destination.Name, config.BackupEndpoint.Name+"="+destination.Endpoint,
		config.BackupAccessKey.Name+"="+destination.AccessKey, config.BackupSecretKey.Name+"="+destination.SecretKey)
	return cmd
}

// pgDump prepares pg_dump alone, into a pipe that nobody keeps anything of.
func (p *backups) pgDump() *exec.Cmd {
	cmd := exec.Command(filepath.Join(postgresPrograms, "pg_dump"), "--format=custom", "--dbname="+setting(p.env, config.DatabaseURL.Name))
	cmd.Stdout = io.Discard
	return cmd
}

// run runs a subcommand of backup, with a destination.
func (p *backups) run(b *testing.B, destination config.Bucket, args ...string) (r ran) {
	b.Helper()
	cmd := p.command(destination, args...)
	var out bytes.Buffer
	steps := &stepTimes{first: map[string]time.Time{}, last: map[string]time.Time{}}
	cmd.Stdout, cmd.Stderr = &out, steps
	r.took = timed(b, cmd, func(pid int) { r.memory = peak(pid) })
	start := time.Now().Add(-r.took)
	if err := json.Unmarshal(out.Bytes(), &r.set); err != nil {
		b.Fatalf("%v: %s", err, out.String())
	}
	r.began, r.ended = map[string]time.Duration{}, map[string]time.Duration{}
	for step, at := range steps.first {
		r.began[step], r.ended[step] = at.Sub(start), steps.last[step].Sub(start)
	}
	return r
}

// timed runs a command to its end, and returns how long that takes. watch are called meanwhile.
func timed(b *testing.B, cmd *exec.Cmd, watch ...func(pid int)) time.Duration {
	b.Helper()
	log := &services.Log{}
	for _, to := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		if *to == nil {
			*to = log
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	syscall.Sync() // what was written before is nobody's burden now
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var watched sync.WaitGroup
	for _, w := range watch {
		watched.Go(func() { w(cmd.Process.Pid) })
	}
	err := cmd.Wait()
	took := time.Since(began)
	watched.Wait()
	if err != nil {
		b.Fatalf("%s: %v\n%s%v", cmd, err, log, cmd.Stderr)
	}
	return took
}

// peak watches a process to its end, and returns its most memory, bytes. What the kernel tells of it afterwards counts its parent's.
func peak(pid int) (bytes int64) {
	for {
		now, err := readMemory(pid, "VmHWM")
		if err != nil {
			return bytes
		}
		bytes = max(bytes, now)
		time.Sleep(5 * time.Millisecond)
	}
}

// stepTimes notes when the first and the last line of each step of the progress come.
type stepTimes struct {
	services.Log
	first, last map[string]time.Time
}

func (s *stepTimes) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		var now backup.Progress
		if json.Unmarshal(line, &now) != nil || now.Step == "" {
			continue
		}
		if s.last[now.Step] = time.Now(); s.first[now.Step].IsZero() {
			s.first[now.Step] = s.last[now.Step]
		}
	}
	return s.Log.Write(p)
}

// BenchmarkBackupBlobs backs up a bucket of 2,008 objects of 288 MiB, and copies it with s5cmd and rclone, in turn: into an empty bucket,
// and again when there is nothing new; and it reads all of the copies and compares them with their SHA-256. Ours dumps the database too:
// the ratios to the limits are of the whole program over the faster of the two and a pg_dump behind it. The others are over the faster one
// alone: of the whole program, and of its blobs, from the first one that is there to the last, beside the dump.
//
// What differs: ours compares the SHA-256 that the service tells of each copy, and reads the dump and lists the copies in the end.
// s5cmd verifies nothing: it reads all into a directory, of which sha256sum then reads it again. rclone has as many objects at a time as
// we have, and compares MD5s of lists in place of times, for which it would ask of each object; it is given a list of the SHA-256s.
func BenchmarkBackupBlobs(b *testing.B) {
	p := newBackups(b, build(b), services.SharedPostgres(b))
	p.put(b, studioSizes())
	p.fill(b, len(p.contents))
	b.Run("one-endpoint", func(b *testing.B) { // which copies by itself
		p.compare(b, services.SharedS3(b), []copier{s5cmdCopier(b), rcloneCopier(b)})
	})
	b.Run("two-endpoints", func(b *testing.B) { // all bytes travel; s5cmd knows but one endpoint
		p.compare(b, services.NewS3(b), []copier{rcloneCopier(b)})
	})
}

// copier is a program that copies a bucket to another one, and another that reads the copy.
type copier struct {
	name   string
	copy   func(from, to config.Bucket) *exec.Cmd
	verify func(to config.Bucket, sums string) *exec.Cmd // sums is a file of SHA-256s and keys, as sha256sum writes it
}

func s5cmdCopier(b *testing.B) copier {
	return copier{"s5cmd", func(from, to config.Bucket) *exec.Cmd {
		return s5cmd(b, from, "sync", "s3://"+from.Name+"/*", "s3://"+to.Name+"/")
	}, func(to config.Bucket, sums string) *exec.Cmd {
		get := s5cmd(b, to, "cp", "s3://"+to.Name+"/*", ".")
		cmd := exec.Command("/bin/sh", "-ec", `"$@" && sha256sum --quiet --check `+sums, "sh")
		cmd.Args, cmd.Env, cmd.Dir = append(cmd.Args, get.Args...), get.Env, b.TempDir()
		return cmd
	}}
}

func rcloneCopier(b *testing.B) copier {
	workers := strconv.Itoa(backupWorkers)
	flags := []string{"--transfers", workers, "--checkers", workers, "--fast-list", "--checksum"}
	return copier{"rclone", func(from, to config.Bucket) *exec.Cmd {
		there := "to:"
		if to.Endpoint == from.Endpoint {
			there = "from:"
		}
		return rclone(b, from, to, append([]string{"sync", "from:" + from.Name, there + to.Name}, flags...)...)
	}, func(to config.Bucket, sums string) *exec.Cmd {
		return rclone(b, to, to, append([]string{"check", "--download", "--checkfile", "sha256", sums, "to:" + to.Name}, flags[:len(flags)-1]...)...)
	}}
}

// rounds are the seconds that things took in each round, by their names and the program's.
type rounds map[string][]float64

func (r rounds) note(thing, program string, took time.Duration) {
	r[thing+" "+program] = append(r[thing+" "+program], took.Seconds())
}

// over is what one took over what others took together, in the same rounds.
func (r rounds) over(one string, others ...string) float64 {
	ratios := slices.Clone(r[one])
	for i := range ratios {
		all := 0.0
		for _, other := range others {
			all += r[other][i]
		}
		ratios[i] /= all
	}
	return median(ratios)
}

// compare has us and the copiers do the same things in turn, into buckets of a server.
func (p *backups) compare(b *testing.B, server *services.S3, copiers []copier) {
	b.Helper()
	sums := filepath.Join(b.TempDir(), "sums")
	var text strings.Builder
	for _, c := range p.contents {
		fmt.Fprintf(&text, "%x  %s\n", c.sha256, c.key)
	}
	if err := os.WriteFile(sums, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	took := rounds{}
	for range backupRounds {
		destination := server.Bucket(b)
		for _, thing := range []string{"first-copy", "no-op"} {
			r := p.run(b, destination, "create")
			if all := int64(len(p.contents)); r.set.Blobs.Count != all || thing == "first-copy" && r.set.Blobs.Copied != all || thing == "no-op" && r.set.Blobs.Copied != 0 {
				b.Fatalf("%s: %+v", thing, r.set.Blobs)
			}
			took.note(thing, "ours", r.took)
			took.note(thing, "blobs", r.ended["blobs"]-r.began["blobs"])
		}
		took.note("verify", "ours", p.run(b, destination, "verify").took)
		took.note("dump", "alone", timed(b, p.pgDump()))
		for _, c := range copiers {
			to := server.Bucket(b)
			for _, thing := range []string{"first-copy", "no-op"} {
				took.note(thing, c.name, timed(b, c.copy(p.source, to)))
			}
			took.note("verify", c.name, timed(b, c.verify(to, sums)))
		}
	}
	for thing, limit := range map[string]float64{"first-copy": limitFirstCopy, "no-op": limitNoOp, "verify": limitVerify} {
		faster := slices.MinFunc(copiers, func(x, y copier) int {
			return cmp.Compare(median(slices.Clone(took[thing+" "+x.name])), median(slices.Clone(took[thing+" "+y.name])))
		}).name
		if thing == "verify" {
			report(b, thing, "over-"+faster, took.over("verify ours", "verify "+faster), limit)
			continue
		}
		report(b, thing, "over-"+faster+"-and-pg_dump", took.over(thing+" ours", thing+" "+faster, "dump alone"), limit)
		b.ReportMetric(took.over(thing+" ours", thing+" "+faster), thing+"-over-"+faster)
		b.ReportMetric(took.over(thing+" blobs", thing+" "+faster), thing+"-blobs-over-"+faster)
	}
	for of, seconds := range took {
		b.ReportMetric(median(seconds), strings.ReplaceAll(of, " ", "-")+"-s")
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkBackupDump dumps a database of 450 MB as a part of a backup, from its start, and with pg_dump alone.
//
// What differs: ours counts the rows of all tables, reads the dump with pg_restore while it is made, works out its SHA-256, and puts it
// into a bucket, on the same machine; pg_dump's goes through a pipe to nowhere.
func BenchmarkBackupDump(b *testing.B) {
	p := newBackups(b, build(b), services.NewPostgres(b, "shared_buffers=1GB"))
	p.put(b, []int64{1})
	p.fill(b, studioAssets)
	var ours, whole, alone, ratios []float64
	var set backup.Set
	for range backupRounds {
		r := p.run(b, services.SharedS3(b).Bucket(b), "create")
		took := timed(b, p.pgDump()).Seconds()
		dump := r.ended["database"].Seconds()
		set, ours, whole, alone = r.set, append(ours, dump), append(whole, r.took.Seconds()), append(alone, took)
		ratios = append(ratios, dump/took)
	}
	report(b, "dump", "over-pg_dump", median(ratios), limitDump)
	b.ReportMetric(median(ours), "dump-s")
	b.ReportMetric(median(whole), "create-s")
	b.ReportMetric(median(alone), "pg_dump-s")
	b.ReportMetric(float64(set.Database.Bytes)/1e6, "database-MB")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkBackupMemory is the peak of the program's memory while it copies a thousand blobs, and ten and a hundred times as many.
func BenchmarkBackupMemory(b *testing.B) {
	peaks := map[int]float64{}
	for _, blobs := range []int{1000, 10_000, 100_000} {
		p := newBackups(b, build(b), services.SharedPostgres(b))
		p.put(b, slices.Repeat([]int64{64}, blobs))
		p.fill(b, blobs)
		destination := services.SharedS3(b).Bucket(b)
		first, next := p.run(b, destination, "create"), p.run(b, destination, "create")
		if first.set.Blobs.Copied != int64(blobs) || next.set.Blobs.Copied != 0 {
			b.Fatalf("%+v, %+v", first.set.Blobs, next.set.Blobs)
		}
		peaks[blobs] = float64(max(first.memory, next.memory))
		b.ReportMetric(peaks[blobs]/(1<<20), fmt.Sprintf("peak-of-%d-MB", blobs))
		b.ReportMetric(first.took.Seconds(), fmt.Sprintf("first-of-%d-s", blobs))
		b.ReportMetric(next.took.Seconds(), fmt.Sprintf("next-of-%d-s", blobs))
	}
	report(b, "growth", "MB", (peaks[100_000]-peaks[1000])/(1<<20), limitBackupGrowth>>20)
	b.ReportMetric(0, "ns/op") // says nothing here
}

// BenchmarkBackupDrill restores a set of a database of 450 MB and a bucket of 288 MiB into a server of its own, which a drill does.
func BenchmarkBackupDrill(b *testing.B) {
	p := newBackups(b, build(b), services.NewPostgres(b, "shared_buffers=1GB"))
	p.put(b, studioSizes())
	p.fill(b, studioAssets)
	destination := services.SharedS3(b).Bucket(b)
	p.run(b, destination, "create")
	var all []time.Duration
	for range backupRounds {
		all = append(all, p.run(b, destination, "drill").took)
	}
	report(b, "drill", "s", median(all).Seconds(), limitDrill.Seconds())
	b.ReportMetric(0, "ns/op") // says nothing here
}
