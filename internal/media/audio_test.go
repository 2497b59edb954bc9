package media

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// expected is what ffmpeg decodes of a file (testdata/audio/make).
type expected struct {
	SampleRate, Channels int
	Frames               int64
	Peaks                []float64
}

var mimeTypes = map[string]string{".wav": "audio/wav", ".ogg": "audio/ogg", ".flac": "audio/flac", ".m4a": "audio/mp4", ".mp3": "audio/mpeg"}

func audioFiles(t testing.TB) map[string]expected {
	t.Helper()
	raw, err := os.ReadFile("testdata/audio/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var files map[string]expected
	if err := json.Unmarshal(raw, &files); err != nil {
		t.Fatal(err)
	}
	return files
}

func audioFile(t testing.TB, name string) (content []byte, mimeType string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/audio", name))
	if err != nil {
		t.Fatal(err)
	}
	return content, mimeTypes[filepath.Ext(name)]
}

// factsOnly are files that are not decoded.
var factsOnly = map[string]bool{
	"ima.wav": true, "mpeg25.mp3": true, "mpeg2-full.mp3": true, "alac.m4a": true,
}

// tolerance is by how much a peak may differ from ffmpeg's: half a step of 16 bits and the
// rounding to 1/10000 where a format is exact, more where decoders round in their own ways.
func tolerance(format string) float64 {
	switch format {
	case "opus": // SILK is resampled in floats, by libopus in integers
		return 0.002
	case "wav", "flac", "aac": // of AAC the noise is the same
		return 0.0001
	}
	return 0.0005
}

func TestAudioIsWhatFFmpegDecodes(t *testing.T) {
	for name, want := range audioFiles(t) {
		t.Run(name, func(t *testing.T) {
			content, mimeType := audioFile(t, name)
			info, err := ReadAudio(context.Background(), bytes.NewReader(content), int64(len(content)), mimeType)
			if factsOnly[name] != errors.Is(err, ErrUnsupported) || err != nil && !factsOnly[name] {
				t.Fatalf("error %v", err)
			}
			if info.SampleRate != want.SampleRate || info.Channels != want.Channels {
				t.Errorf("%d Hz, %d channels, want %d and %d", info.SampleRate, info.Channels, want.SampleRate, want.Channels)
			}
			if frames := info.Duration * float64(info.SampleRate); math.Abs(frames-float64(want.Frames)) > 1152 {
				t.Errorf("%v frames, want %d", frames, want.Frames)
			}
			if rate := float64(len(content)) * 8 / info.Duration; float64(info.Bitrate) > rate+1 || float64(info.Bitrate) < rate*0.7 {
				t.Errorf("%d bit/s, and %.0f with all headers", info.Bitrate, rate)
			}
			if factsOnly[name] {
				if info.Waveform != nil {
					t.Error("a waveform of what is not decoded")
				}
				return
			}
			if len(info.Waveform) != Parts {
				t.Fatalf("%d peaks", len(info.Waveform))
			}
			worst, at := 0.0, 0
			for i, peak := range info.Waveform {
				if off := math.Abs(peak - want.Peaks[i]); off > worst {
					worst, at = off, i
				}
			}
			if worst > tolerance(info.Format) {
				t.Errorf("peak %d is %v, want %v; %d frames of %v", at, info.Waveform[at], want.Peaks[at], want.Frames, info.Duration*float64(info.SampleRate))
			}
		})
	}
}
