package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// peakLimit is how much memory any file may take beyond what was there before.
const peakLimit = 32 << 20

// peakMemory runs f and returns how much the heap grew meanwhile. The collector runs at
// every MiB, so that hardly more is measured than what is held.
func peakMemory(f func()) int64 {
	old := debug.SetGCPercent(10)
	defer debug.SetGCPercent(old)
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before := stats.HeapAlloc
	var peak atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return int64(peak.Load()) - int64(before)
}

func readBytes(content []byte, mimeType string) (AudioInfo, error) {
	return ReadAudio(context.Background(), bytes.NewReader(content), int64(len(content)), mimeType)
}

// zeros is a file that begins with head and goes on with zeros.
type zeros []byte

func (z zeros) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	if at < int64(len(z)) {
		copy(p, z[at:])
	}
	return len(p), nil
}

// sane fails where what was read is not what the contract allows.
func sane(t testing.TB, info AudioInfo, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrTooLarge) {
		t.Errorf("error of no kind: %v", err)
	}
	if err != nil && info.Waveform != nil {
		t.Errorf("a waveform beside the error %v", err)
	}
	if err == nil && (len(info.Waveform) != Parts || info.Channels < 1 || info.SampleRate < 1) {
		t.Errorf("no error, and %+v", info)
	}
	if math.IsNaN(info.Duration) || math.IsInf(info.Duration, 0) || info.Duration < 0 || info.Bitrate < 0 {
		t.Errorf("duration %v, bitrate %v", info.Duration, info.Bitrate)
	}
	for _, peak := range info.Waveform {
		if !(peak >= 0 && peak <= 1) {
			t.Fatalf("peak %v", peak)
		}
	}
}

func TestCutAudio(t *testing.T) {
	for name := range audioFiles(t) {
		content, mimeType := audioFile(t, name)
		for tenth := range 10 {
			cut := content[:len(content)*tenth/10]
			info, err := readBytes(cut, mimeType)
			sane(t, info, err)
			// MP3 and WAV play as far as they go; the others say how long they should be.
			if ext := filepath.Ext(name); err == nil && ext != ".mp3" && ext != ".wav" && name != "piped.flac" && name != "chained.ogg" {
				t.Errorf("%s: %d tenths of it decode", name, tenth)
			}
		}
	}
}

// patched is a copy with other bytes at an offset.
func patched(content []byte, at int, with ...byte) []byte {
	content = bytes.Clone(content)
	copy(content[at:], with)
	return content
}

// oggPage is a page of the stream whose file begins with of, without checksum, which nobody looks at.
func oggPage(of []byte, flags byte, granule int64, packet []byte) []byte {
	page := append([]byte("OggS\x00"), flags)
	page = binary.LittleEndian.AppendUint64(page, uint64(granule))
	page = append(page, of[14:18]...)
	page = append(page, make([]byte, 8)...)
	page = append(page, byte(len(packet)/255+1))
	for range len(packet) / 255 {
		page = append(page, 255)
	}
	page = append(page, byte(len(packet)%255))
	return append(page, packet...)
}

func box(kind string, content ...byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(8+len(content))), kind...), content...)
}

// endlessWAV is a header that claims 4 GiB of sound in stereo of 16 bits.
func endlessWAV(t testing.TB) []byte {
	wav, _ := audioFile(t, "s16.wav")
	data := bytes.Index(wav, []byte("data")) + 4
	return patched(wav[:data+4], data, 0xff, 0xff, 0xff, 0xff)
}

// manySamples is a file whose first track of sound has so many chunks, runs of them and samples, all in one place.
func manySamples(m4a []byte, chunks, samples int) []byte {
	stsd := bytes.Index(m4a, []byte("stsd")) - 4
	entry := m4a[stsd : stsd+int(binary.BigEndian.Uint32(m4a[stsd:]))]
	runs, sizes := words(0, uint32(chunks)), words(0, 0, uint32(samples))
	for i := range chunks {
		runs = append(runs, words(uint32(i+1), uint32(samples/chunks), 1)...)
	}
	for range samples {
		sizes = append(sizes, 0, 0, 0, 1)
	}
	table := slices.Concat(entry, box("stsc", runs...), box("stsz", sizes...), box("stco", append(words(0, uint32(chunks)), make([]byte, 4*chunks)...)...))
	mdia := slices.Concat(box("hdlr", append(words(0, 0), "soun"...)...), box("minf", box("stbl", table...)...))
	return box("moov", box("trak", box("mdia", mdia...)...)...)
}

type hostileFile struct {
	name, mimeType string
	content        []byte
	size           int64 // more than content: zeros follow
}

func hostileFiles(t testing.TB) []hostileFile {
	wav, _ := audioFile(t, "s16.wav")
	flacFile, _ := audioFile(t, "s16.flac")
	vorbisFile, _ := audioFile(t, "vorbis.ogg")
	opusFile, _ := audioFile(t, "opus.ogg")
	oggFLACFile, _ := audioFile(t, "flac.ogg")
	m4a, _ := audioFile(t, "aac.m4a")
	fragments, _ := audioFile(t, "fragments.m4a")
	mp3File, _ := audioFile(t, "cbr.mp3")

	zeroed := func(n int) []byte { return make([]byte, n) }
	full, _ := lsfFrame(lsfIndex, 1, 2, 255, 8190, zeroed)
	missing, _ := lsfFrame(1, 1, 2, 255, 8190, zeroed)

	pages := bytes.Clone(opusFile[:47])                        // the first page
	empty := patched(oggPage(opusFile, 0, 0, nil)[:27], 26, 0) // without a packet
	for range 1_000_000 {
		pages = append(pages, empty...)
	}
	others := bytes.Clone(opusFile[:47])
	for i := range 200_000 {
		page := oggPage(opusFile, oggFirst, 0, []byte("x"))
		binary.LittleEndian.PutUint32(page[14:], uint32(i+1))
		others = append(others, page...)
	}
	var deep []byte
	for range 1000 {
		deep = box("moov", deep...)
	}
	tags := []byte("fLaC\x04\x00\x00\x22\x00\x00\x00\x00\x00\x00\x00\x10\x01\x00\x00\x00=")
	setup := bytes.Index(vorbisFile, []byte("\x05vorbis"))
	stsz, stsc, stco, mdat := bytes.Index(m4a, []byte("stsz")), bytes.Index(m4a, []byte("stsc")), bytes.Index(m4a, []byte("stco")), bytes.Index(m4a, []byte("mdat"))
	trun := bytes.Index(fragments, []byte("trun"))
	endless := append(bytes.Clone(vorbisFile[:58]), oggPage(vorbisFile, 0, 0, []byte("\x03vorbis"))...)
	endless = append(endless, oggPage(vorbisFile, 0, 0, append([]byte("\x05vorbis\x00BCV\x01\x00\xff\xff\x00\x01"), make([]byte, 200)...))...)
	return []hostileFile{
		{"empty", "audio/wav", nil, 0},
		{"wav of 65535 channels", "audio/wav", patched(wav, 22, 0xff, 0xff), 0},
		{"wav of 4 GHz", "audio/wav", patched(wav, 24, 0xff, 0xff, 0xff, 0xff), 0},
		{"wav of frames of 0 bytes", "audio/wav", patched(wav, 32, 0, 0), 0},
		{"wav of 0 bits", "audio/wav", patched(wav, 34, 0, 0), 0},
		{"wav of 256 MB of zeros", "audio/wav", endlessWAV(t), 256 << 20},
		{"wav of chunks alone", "audio/wav", append([]byte("RIFF\xff\xff\xff\xffWAVE"), bytes.Repeat([]byte("LIST\x00\x00\x00\x00"), 500_000)...), 0},
		{"flac of 32 bits", "audio/flac", patched(flacFile, 20, flacFile[20]|1, 0xf0), 0},
		{"flac of 8 channels that has 2", "audio/flac", patched(flacFile, 20, flacFile[20]|0x0e), 0},
		{"flac of 2^36 frames", "audio/flac", patched(flacFile, 21, flacFile[21]|15, 0xff, 0xff, 0xff, 0xff), 0},
		{"flac of 0 Hz", "audio/flac", patched(flacFile, 18, 0, 0, flacFile[20]&15), 0},
		{"flac that begins with a comment of 2^28 tags", "audio/flac", tags, 0},
		{"flac in ogg that begins so", "audio/ogg", patched(oggFLACFile, 28+9, tags...), 0},
		{"mp3 with a tag of 256 MB", "audio/mpeg", append([]byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7f"), mp3File...), 0},
		{"mp3 of a tag of 256 MB of zeros", "audio/mpeg", []byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7f"), 300 << 20},
		{"mp3 with a million tags", "audio/mpeg", append(bytes.Repeat([]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), 1_000_000), mp3File...), 0},
		{"mp3 of frames that are too full", "audio/mpeg", bytes.Repeat(full, 1000), 0},
		{"mp3 of frames whose data are not there", "audio/mpeg", bytes.Repeat(missing, 1000), 0},
		{"mp3 behind a page", "audio/mpeg", append([]byte("<html><script>alert(1)</script>"), mp3File...), 0},
		{"ogg of a million pages", "audio/ogg", pages, 0},
		{"ogg of 200,000 streams", "audio/ogg", others, 0},
		{"flac in ogg of 8 channels that has 2", "audio/ogg", patched(oggFLACFile, 28+29, oggFLACFile[28+29]|0x0e), 0},
		{"flac in ogg with a header alone", "audio/ogg", oggPage(oggFLACFile, oggFirst|oggLast, 0, oggFLACFile[28:28+20]), 0},
		{"opus of 255 channels", "audio/ogg", patched(opusFile, 28+9, 0xff), 0},
		{"vorbis of 255 channels", "audio/ogg", patched(vorbisFile, 28+11, 0xff), 0},
		{"vorbis of blocks of 32768", "audio/ogg", patched(vorbisFile, 28+28, 0xff), 0},
		{"vorbis with a codebook of 2^24 entries", "audio/ogg", patched(vorbisFile, setup+11, 0xff, 0xff, 0xff, 0xff, 0xff), 0},
		{"vorbis with a codebook without end", "audio/ogg", endless, 0},
		{"mp4 of boxes in boxes", "audio/mp4", deep, 0},
		{"mp4 of a million boxes", "audio/mp4", box("moov", bytes.Repeat(box("free"), 1_000_000)...), 0},
		{"mp4 with 2^32 samples", "audio/mp4", patched(m4a, stsz+12, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 with 2^32 samples of a byte", "audio/mp4", patched(m4a, stsz+8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 with 4 million samples of zeros", "audio/mp4", patched(m4a, stsz+8, 0, 0, 0, 1, 0, 0x40, 0, 0), 0},
		{"mp4 of chunks of 2^32 samples", "audio/mp4", patched(m4a, stsc+16, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 of no chunks", "audio/mp4", patched(m4a, stsc+12, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 with a chunk at 2^32", "audio/mp4", patched(m4a, stco+12, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 of 4 million chunks and samples", "audio/mp4", manySamples(m4a, 1<<22, 1<<22), 0},
		{"mp4 of a million chunks and 4 million samples", "audio/mp4", manySamples(m4a, 1<<20, 1<<22), 0},
		{"mp4 of AAC in 0x5a", "audio/mp4", patched(m4a, mdat+4, bytes.Repeat([]byte{0x5a}, 15_000)...), 0},
		{"mp4 of AAC in 0xff", "audio/mp4", patched(m4a, mdat+4, bytes.Repeat([]byte{0xff}, 15_000)...), 0},
		{"mp4 of a run of 2^32 samples", "audio/mp4", patched(fragments, trun+8, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 of a run of 2^32 samples of 2^32 ticks", "audio/mp4", patched(fragments, trun+4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 of samples of 2^32 ticks", "audio/mp4", patched(fragments, bytes.Index(fragments, []byte("tfhd"))+12, 0xff, 0xff, 0xff, 0xff), 0},
		{"mp4 of 100,000 fragments of no track", "audio/mp4", append(bytes.Clone(m4a), bytes.Repeat(box("moof", box("traf", box("tfhd", 0, 0, 0, 0, 0, 0, 0, 9)...)...), 100_000)...), 0},
		{"mp4 of a million tags", "audio/mp4", box("moov", box("udta", box("meta", append(words(0), box("ilst", bytes.Repeat(box("----", []byte("iTunSMPBdata")...), 1_000_000)...)...)...)...)...), 0},
		{"mp4 of a million defaults", "audio/mp4", box("moov", box("mvex", bytes.Repeat(box("trex", make([]byte, 24)...), 1_000_000)...)...), 0},
		{"mp4 of a box of 2^63", "audio/mp4", append([]byte("\x00\x00\x00\x01moov\x7f\xff\xff\xff\xff\xff\xff\xff"), m4a...), 0},
	}
}

// TestHostileAudio: an error or success, within bounds.
func TestHostileAudio(t *testing.T) {
	for _, file := range hostileFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			var info AudioInfo
			var err error
			var reader io.ReaderAt = bytes.NewReader(file.content)
			size := int64(len(file.content))
			if file.size > 0 {
				reader, size = zeros(file.content), file.size
			}
			var took time.Duration
			peak := peakMemory(func() {
				began := time.Now()
				info, err = ReadAudio(context.Background(), reader, size, file.mimeType)
				took = time.Since(began)
			})
			t.Logf("%s, %d KiB: %v", took.Round(time.Millisecond), peak>>10, err)
			sane(t, info, err)
			if peak > peakLimit {
				t.Errorf("%d MiB of memory", peak>>20)
			}
		})
	}
}

// TestAudioStopsWithItsContext: also where few bytes are much sound.
func TestAudioStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := ReadAudio(ctx, zeros(endlessWAV(t)), 1<<40, "audio/wav")
	t.Logf("stopped after %s", time.Since(began).Round(time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func fuzzAudio(f *testing.F, mimeType string) {
	for name := range audioFiles(f) {
		if content, of := audioFile(f, name); of == mimeType {
			f.Add(content)
		}
	}
	for _, file := range hostileFiles(f) {
		if file.mimeType == mimeType && len(file.content) < 1<<20 {
			f.Add(file.content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		info, err := ReadAudio(ctx, bytes.NewReader(content), int64(len(content)), mimeType)
		sane(t, info, err)
	})
}

func FuzzWAV(f *testing.F)  { fuzzAudio(f, "audio/wav") }
func FuzzMP3(f *testing.F)  { fuzzAudio(f, "audio/mpeg") }
func FuzzOgg(f *testing.F)  { fuzzAudio(f, "audio/ogg") }
func FuzzFLAC(f *testing.F) { fuzzAudio(f, "audio/flac") }
func FuzzMP4(f *testing.F)  { fuzzAudio(f, "audio/mp4") }
