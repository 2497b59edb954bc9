package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/media"
)

// audioSeconds is how long the sound is that BenchmarkAudio decodes.
const audioSeconds = 180

// BenchmarkAudio measures how many seconds of sound are decoded in a second of CPU time,
// over what ffmpeg decodes in one with one thread, for three minutes of stereo.
func BenchmarkAudio(b *testing.B) {
	dir := b.TempDir()
	source := filepath.Join(dir, "source.wav")
	ffmpeg(b, "-f", "lavfi", "-i", "anoisesrc=color=pink:amplitude=0.4:r=44100:d=180", "-f", "lavfi",
		"-i", "aevalsrc=0.4*sin(2*PI*(200+t)*t):s=44100:d=180", "-filter_complex", "amerge=inputs=2", source)
	for _, format := range []struct{ name, mimeType, codec string }{
		{"wav", "audio/wav", "pcm_s16le"},
		{"mp3", "audio/mpeg", "libmp3lame"},
		{"flac", "audio/flac", "flac"},
		{"vorbis.ogg", "audio/ogg", "libvorbis"},
		{"opus.ogg", "audio/ogg", "libopus"},
		{"m4a", "audio/mp4", "aac"},
	} {
		b.Run(format.name, func(b *testing.B) {
			path := filepath.Join(dir, "a."+format.name)
			ffmpeg(b, "-i", source, "-c:a", format.codec, path)
			theirs := ffmpeg(b, "-threads", "1", "-i", path, "-f", "null", "-")
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			stat, err := file.Stat()
			if err != nil {
				b.Fatal(err)
			}
			began := ownCPU(b)
			if _, err := media.ReadAudio(context.Background(), file, stat.Size(), format.mimeType); err != nil {
				b.Fatal(err)
			}
			ours := ownCPU(b) - began
			b.ReportMetric(audioSeconds/ours.Seconds(), "audio-s/cpu-s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "speed-over-ffmpeg")
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

// ffmpeg runs it and returns the CPU time that it took.
func ffmpeg(b *testing.B, args ...string) time.Duration {
	b.Helper()
	cmd := exec.Command("ffmpeg", append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("ffmpeg %v: %v\n%s", args, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
