package bench

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/media"
)

// BenchmarkImages measures thumbnails per second of CPU time, over those of libvips'
// vipsthumbnail on one thread, of a picture of two megapixels: soft shapes of all colours
// under the noise of a camera, so that it packs like a photograph. ReadImage makes three,
// and the palette; vipsthumbnail is run for each of them. What it takes to start, some
// 200 libraries, is measured by a picture of one pixel, and told apart.
func BenchmarkImages(b *testing.B) {
	dir := b.TempDir()
	picture := photograph(1920, 1080)
	for _, format := range []struct{ name, mimeType string }{{"png", "image/png"}, {"jpeg", "image/jpeg"}} {
		b.Run(format.name, func(b *testing.B) {
			path := filepath.Join(dir, "a."+format.name)
			content := encode(b, picture, format.name)
			write(b, path, content)
			dot := filepath.Join(dir, "dot."+format.name)
			write(b, dot, encode(b, photograph(1, 1), format.name))
			const rounds = 10
			var theirs, one, start, ours time.Duration
			for range rounds {
				for _, size := range []int{150, 300, 600} {
					took := vipsthumbnail(b, path, size)
					theirs += took
					if size == 300 {
						one += took
					}
				}
				start += vipsthumbnail(b, dot, 300)
				began := ownCPU(b)
				if _, _, err := media.ReadImage(context.Background(), bytes.NewReader(content), int64(len(content)), format.mimeType); err != nil {
					b.Fatal(err)
				}
				ours += ownCPU(b) - began
			}
			b.ReportMetric(3*rounds/ours.Seconds(), "thumbnails/cpu-s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "speed-over-vips")
			b.ReportMetric((theirs-3*start).Seconds()/ours.Seconds(), "speed-over-started-vips")
			b.ReportMetric(one.Seconds()/ours.Seconds(), "all-three-over-one-of-vips")
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

// BenchmarkLargestImage measures the memory that the process has at most, beyond what it
// had, while a picture of 100 million pixels is read.
func BenchmarkLargestImage(b *testing.B) {
	for _, format := range []struct{ name, mimeType string }{{"png", "image/png"}, {"jpeg", "image/jpeg"}} {
		b.Run(format.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "a."+format.name)
			write(b, path, encode(b, tiled(photograph(1000, 1000), 10), format.name))
			// In a process of its own: the Go heap of this one is as large as the picture was.
			cmd := exec.Command(os.Args[0], "-test.run", "^TestReadLargest$", "-test.v")
			cmd.Env = append(os.Environ(), "LARGEST="+path, "LARGEST_TYPE="+format.mimeType)
			out, err := cmd.CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			_, after, _ := bytes.Cut(out, []byte("grew by "))
			kib, _, _ := bytes.Cut(after, []byte(" KiB"))
			grew, err := strconv.Atoi(string(kib))
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			b.ReportMetric(float64(grew)/1024, "peak-MiB")
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

// TestReadLargest is the process that BenchmarkLargestImage starts.
func TestReadLargest(t *testing.T) {
	path := os.Getenv("LARGEST")
	if path == "" {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	before := ownPeak(t)
	if _, thumbnails, err := media.ReadImage(context.Background(), file, stat.Size(), os.Getenv("LARGEST_TYPE")); err != nil || len(thumbnails) != 3 {
		t.Fatalf("%d thumbnails, %v", len(thumbnails), err)
	}
	t.Logf("grew by %d KiB", ownPeak(t)-before)
}

// photograph is made: soft shapes, and noise.
func photograph(width, height int) *image.NRGBA {
	made := image.NewNRGBA(image.Rect(0, 0, width, height))
	random := rand.New(rand.NewPCG(1, 2))
	wave := func(x, y, length float64) float64 { return math.Sin(x/length) * math.Cos(y/length*1.3+x/length/3) }
	for y := range height {
		for x := range width {
			fx, fy := float64(x), float64(y)
			soft := [3]float64{wave(fx, fy, 130), wave(fy, fx, 90), wave(fx+fy, fy, 170)}
			fine := 20 * wave(fx, fy, 7)
			at := func(c int) uint8 {
				return uint8(max(0, min(255, 125+70*soft[c]+fine+5*random.NormFloat64())))
			}
			made.SetNRGBA(x, y, color.NRGBA{at(0), at(1), at(2), 255})
		}
	}
	return made
}

// tiled repeats a picture so often each way: what packs it does not look so far back.
func tiled(picture *image.NRGBA, times int) *image.NRGBA {
	size := picture.Rect.Size()
	made := image.NewNRGBA(image.Rect(0, 0, times*size.X, times*size.Y))
	for y := range made.Rect.Dy() {
		row := picture.Pix[y%size.Y*picture.Stride:][:4*size.X]
		for x := range times {
			copy(made.Pix[y*made.Stride+4*size.X*x:], row)
		}
	}
	return made
}

func encode(b *testing.B, picture image.Image, format string) []byte {
	b.Helper()
	var out bytes.Buffer
	var err error
	if format == "png" {
		err = png.Encode(&out, picture)
	} else {
		err = jpeg.Encode(&out, picture, &jpeg.Options{Quality: 85})
	}
	if err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func write(b *testing.B, path string, content []byte) {
	b.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		b.Fatal(err)
	}
}

// vipsthumbnail runs it and returns the CPU time that it took.
func vipsthumbnail(b *testing.B, path string, size int) time.Duration {
	b.Helper()
	cmd := exec.Command("vipsthumbnail", path, "-s", strconv.Itoa(size), "-o", filepath.Join(b.TempDir(), "out.jpg[Q=80]"))
	cmd.Env = append(os.Environ(), "VIPS_CONCURRENCY=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("vipsthumbnail: %v\n%s", err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// ownPeak is the most memory that this process had so far, KiB.
func ownPeak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, _, _ := strings.Cut(after, "kB")
	peak, err := strconv.Atoi(strings.TrimSpace(kib))
	if err != nil {
		t.Fatal(err)
	}
	return peak
}
