package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	imagepng "image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

// png is a picture of one pixel, made different by a text in it.
func png(text string) []byte {
	return pngOf("tEXt", "Comment\x00"+text)
}

func pngOf(kind, content string) []byte {
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"),
		pngChunk("IHDR", "\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00"),
		pngChunk(kind, content),
		pngChunk("IDAT", "\x78\x01\x01\x02\x00\xfd\xff\x00\x00\x00\x02\x00\x01"), // zlib, stored: filter 0, pixel 0
		pngChunk("IEND", ""))
}

func pngChunk(kind, content string) []byte {
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	chunk = append(append(chunk, kind...), content...)
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
}

// wav is a sound, 8 bit, mono. A size of -1 is written as programs do into a pipe.
func wav(size int, samples []byte) []byte {
	data, whole := uint32(size), uint32(size+size%2+36)
	if size < 0 {
		data, whole = 0xffffffff, 0xffffffff
	}
	head := binary.LittleEndian.AppendUint32([]byte("RIFF"), whole)
	head = append(head, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data"...)
	return append(binary.LittleEndian.AppendUint32(head, data), samples...)
}

// wholeFiles are true files by name: what real encoders made (testdata/whole), and what is quickly made here.
func wholeFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	paths, err := filepath.Glob("testdata/whole/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/whole, %v", err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(path) != ".md" {
			files[filepath.Base(path)] = content
		}
	}
	picture := noise(40, 30)
	files["go.png"], files["go.jpg"], files["go.gif"] = encoded(t, picture)
	files["text.png"] = png("勇者")
	files["two.jpg"] = slices.Concat(files["go.jpg"], make([]byte, 5), files["go.jpg"]) // as cameras add previews
	files["known.wav"] = wav(5, []byte("12345\x00"))
	files["pipe.wav"] = wav(-1, []byte("12345"))
	files["list.wav"] = append(wav(4, []byte("1234")), "LIST\x04\x00\x00\x00INFO"...)
	binary.LittleEndian.PutUint32(files["list.wav"][4:], uint32(len(files["list.wav"])-8))
	return files
}

func noise(width, height int) *image.Paletted {
	m := image.NewPaletted(image.Rect(0, 0, width, height), palette.Plan9)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = byte(r.UintN(256))
	}
	return m
}

func encoded(t testing.TB, m *image.Paletted) (asPNG, asJPEG, asGIF []byte) {
	t.Helper()
	var p, j, g bytes.Buffer
	if err := errors.Join(imagepng.Encode(&p, m), jpeg.Encode(&j, m, nil),
		gif.EncodeAll(&g, &gif.GIF{Image: []*image.Paletted{m, m}, Delay: []int{1, 1}})); err != nil {
		t.Fatal(err)
	}
	return p.Bytes(), j.Bytes(), g.Bytes()
}

// judged is what the inspection says of a file that comes in pieces of these sizes.
func judged(format fileFormat, content []byte, size func() int) error {
	i := inspect(format)
	defer i.stop()
	for len(content) > 0 {
		n := min(size(), len(content))
		if err := i.feed(content[:n]); err != nil {
			return err
		}
		content = content[n:]
	}
	return i.feed(nil)
}

func inOnePiece() int { return 1 << 40 }
func byteByByte() int { return 1 }
func atRandom() int   { return 1 + rand.IntN(1+rand.IntN(300)) }

// judgedAll checks that the sizes of the pieces do not matter, and returns the judgement.
func judgedAll(t *testing.T, format fileFormat, content []byte) error {
	t.Helper()
	whole := judged(format, content, inOnePiece)
	for name, size := range map[string]func() int{"byte by byte": byteByByte, "at random": atRandom} {
		if err := judged(format, content, size); fmt.Sprint(err) != fmt.Sprint(whole) || details(err) != details(whole) {
			t.Errorf("%s: %v %s; in one piece: %v %s", name, err, details(err), whole, details(whole))
		}
	}
	return whole
}

func details(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprint(problemOf(err).details)
}

func formatFor(t testing.TB, content []byte) fileFormat {
	t.Helper()
	format, err := formatOf(content[:min(len(content), sniffLength)], "", "")
	if err != nil {
		t.Fatal(err, details(err))
	}
	return format
}

// wantRefused checks the code, and that the words are there.
func wantRefused(t *testing.T, what string, err error, code, says string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
		return
	}
	p := problemOf(err)
	if p.status != 400 || p.code != code || !strings.Contains(p.message+" "+details(err), says) {
		t.Errorf("%s: %d %s %s %v; want %s, %q", what, p.status, p.code, p.message, p.details, code, says)
	}
}

func TestWholeFilesAreAccepted(t *testing.T) {
	t.Parallel()
	for name, content := range wholeFiles(t) {
		if err := judgedAll(t, formatFor(t, content), content); err != nil {
			t.Errorf("%s: %v %s", name, err, details(err))
		}
	}
}

// What common programs leave around a sound does not matter, and it is not all accepted.
func TestFilesOfCommonPrograms(t *testing.T) {
	t.Parallel()
	files := wholeFiles(t)
	behind := func(name, more string) string { return string(files[name]) + more }
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	sound := wav(4, []byte("1234"))
	for what, test := range map[string]struct{ name, content, refused string }{
		"WAV and padding":            {"a.wav", string(sound) + zeros(100), ""},
		"WAV and a little padding":   {"a.wav", string(sound) + zeros(3), ""},
		"WAV and an ID3v1 tag":       {"a.wav", string(sound) + "TAG\xe9" + zeros(124), ""},
		"WAV and both":               {"a.wav", string(sound) + "TAG\xe9" + zeros(200), ""},
		"WAV, padding and a page":    {"a.wav", string(sound) + zeros(9) + "<html>", "behind the end"},
		"WAV that counts padding":    {"a.wav", strings.Replace(string(sound)+zeros(100), "RIFF\x28", "RIFF\x8c", 1), ""},
		"WAV and half a tag":         {"a.wav", string(sound) + "TAG\xe9" + zeros(60), "cut off"},
		"M4A and padding":            {"a.m4a", behind("fast.m4a", zeros(512)), ""},
		"M4A and a little padding":   {"a.m4a", behind("tone.m4a", zeros(4)), ""},
		"M4A, padding and a page":    {"a.m4a", behind("tone.m4a", zeros(8)+"<html>"), "behind the end"},
		"M4A and a box without end":  {"a.m4a", behind("tone.m4a", zeros(4)+"<!DOCTYPE html>"), "behind the end"},
		"M4A of brand isom":          {"a.m4a", strings.ReplaceAll(behind("tone.m4a", ""), "M4A ", "isom"), ""},
		"M4A of brand mp42":          {"a.mp4", strings.ReplaceAll(behind("tone.m4a", ""), "M4A ", "mp42"), ""},
		"video in M4A":               {"a.m4a", strings.Replace(behind("tone.m4a", ""), "soun", "vide", 1), "holds a video"},
		"video of brand isom":        {"a.mp4", "\x00\x00\x00\x10ftypisom" + zeros(4) + box("moov", track("soun")+track("vide")) + box("mdat", "x"), "holds a video"},
		"two sounds":                 {"a.m4a", "\x00\x00\x00\x10ftypisom" + zeros(4) + box("moov", track("soun")+track("soun")) + box("mdat", "x"), ""},
		"subtitles alone":            {"a.m4a", "\x00\x00\x00\x10ftypisom" + zeros(4) + box("moov", track("text")) + box("mdat", "x"), "no sound"},
		"an index that is cut short": {"a.m4a", "\x00\x00\x00\x10ftypisom" + zeros(4) + box("mdat", "x") + box("moov", track("soun")+track("soun"))[:8+len(track(""))+4], "cut off"},
		"Theora in Ogg":              {"a.ogg", strings.Replace(behind("tone.ogg", ""), "\x01vorbis", "\x80theora", 1), "holds a video"},
		"a second stream in Ogg":     {"a.ogg", behind("tone.ogg", strings.Replace(behind("tone.ogg", ""), "\x01vorbis", "\x80theora", 1)), "holds a video"},
		"FLAC behind a tag":          {"a.flac", "ID3\x03\x00\x00\x00\x00\x00\x05title" + behind("tone.flac", ""), ""},
		"that, without its name":     {"a", "ID3\x03\x00\x00\x00\x00\x00\x05title" + behind("tone.flac", ""), "name it .flac"},
		"MP3 that is named FLAC":     {"a.flac", "ID3\x03\x00\x00\x00\x00\x00\x05title" + behind("tone.mp3", ""), "is none"},
		"MP3 and stray bytes":        {"a.mp3", behind("tone.mp3", "\r\n\x00"), ""},
		"MP3 and half a header":      {"a.mp3", behind("tone.mp3", "\xff\xfb"), "cut off"},
	} {
		content := []byte(test.content)
		format, err := formatOf(content[:min(len(content), sniffLength)], test.name, "")
		if err == nil {
			err = judgedAll(t, format, content)
		}
		if (err == nil) != (test.refused == "") || !strings.Contains(details(err), test.refused) {
			t.Errorf("%s: %v %s", what, err, details(err))
		}
	}
}

// box is one of an ISO media file, and track such a box with a handler.
func box(kind, content string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))) + kind + content
}

func track(handler string) string {
	return box("trak", box("mdia", box("hdlr", strings.Repeat("\x00", 8)+handler+strings.Repeat("\x00", 13))))
}

// streamed are sounds whose length their program did not know: they may end anywhere.
var streamed = []string{"pipe.wav", "streamed.wav", "sox.wav"}

// Every beginning of a file is refused; but MP3 and FLAC do not tell a cut between two frames.
func TestCutFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, content := range wholeFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			format, accepted := formatFor(t, content), 0
			for n := range len(content) {
				size := atRandom
				if n%16 == 0 {
					size = inOnePiece
				}
				err := judged(format, content[:n], size)
				if err == nil {
					accepted++
					continue
				}
				if p := problemOf(err); p.status != 400 || p.code != "VALIDATION_ERROR" || p.message == "" || details(err) == "[]" {
					t.Fatalf("%d of %d bytes: %v %s", n, len(content), err, details(err))
				}
			}
			t.Logf("%s: %d of %d cuts are noticed", format.name, len(content)-accepted, len(content))
			most := map[string]int{"two.jpg": 6, "known.wav": 1, "fragments.m4a": 1}[name] // padding; an index that nobody needs
			switch {
			case slices.Contains(streamed, name):
				most = len(content)
			case format.name == "MP3", format.name == "FLAC":
				most = len(content) / 50
			}
			if accepted > most {
				t.Errorf("%d cuts are not noticed, want at most %d", accepted, most)
			}
		})
	}
	wantRefused(t, "half a PNG", judged(formatFor(t, png("")), png("text")[:40], inOnePiece), "VALIDATION_ERROR", "ends before its picture does: 40 bytes are there")
	wantRefused(t, "half a WAV", judged(formatFor(t, wav(100, nil)), wav(100, []byte("12345")), inOnePiece), "VALIDATION_ERROR", "ends before its sound does: 49 bytes are there")
}

func TestWhatFollowsTheEndIsRefused(t *testing.T) {
	t.Parallel()
	zip := "PK\x03\x04\x14\x00\x00\x00\x08\x00" + strings.Repeat("zip", 100) + "PK\x05\x06" + strings.Repeat("\x00", 18)
	for name, content := range wholeFiles(t) {
		format := formatFor(t, content)
		for what, more := range map[string]string{
			"a web page": "<!DOCTYPE html><script>alert(1)</script>", "a page after padding": "\x00\x00\x00<html>", "a zip": zip, "one byte": "x", "a PDF": "%PDF-1.7\n",
		} {
			err := judgedAll(t, format, append(slices.Clone(content), more...))
			if format.name == "MP3" || slices.Contains(streamed, name) { // tags and sounds without a length
				continue
			}
			if err == nil {
				t.Errorf("%s behind %s: accepted", what, name)
			}
			if format.name == "PNG" || format.name == "GIF" || format.name == "WebP" || format.name == "JPEG" && len(more) > 1 {
				wantRefused(t, what+" behind "+name, err, "INVALID_FILE_TYPE", "behind the end of its picture")
			}
		}
		if padded := append(slices.Clone(content), 0, 0, 0); strings.HasPrefix(format.mimeType, "image/") {
			if err := judgedAll(t, format, padded); err != nil {
				t.Errorf("padding behind %s: %v", name, err)
			}
		}
	}
}

// A PNG has a checksum over everything: no changed byte goes unnoticed.
func TestDamagedPNG(t *testing.T) {
	t.Parallel()
	whole := wholeFiles(t)["go.png"]
	format := formatFor(t, whole)
	for i := range whole[8:] {
		content := slices.Clone(whole)
		content[8+i] ^= byte(1 + rand.IntN(255))
		if judged(format, content, inOnePiece) == nil {
			t.Errorf("byte %d changed: accepted", 8+i)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	files := wholeFiles(t)
	edit := func(name string, offset int, bytes string) []byte {
		content := slices.Clone(files[name])
		if offset < 0 {
			offset += len(content)
		}
		copy(content[offset:], bytes)
		return content
	}
	const damage, alien = "VALIDATION_ERROR", "INVALID_FILE_TYPE"
	text := strings.Repeat("this is no such file. ", 30)
	for what, test := range map[string]struct {
		content    []byte
		code, says string
	}{
		"PNG and text":               {[]byte("\x89PNG\r\n\x1a\n" + text), alien, "begins like PNG, but is none"},
		"PNG and a little text":      {[]byte("\x89PNG\r\n\x1a\nhello world"), alien, "begins like PNG, but is none"},
		"PNG without a picture":      {pngOf("IEND", ""), damage, "holds no picture"},
		"PNG without width":          {pngSize(0, 1), damage, "0 × 1 pixels"},
		"PNG too large":              {pngSize(20_000, 20_000), damage, "20000 × 20000 pixels"},
		"PNG of a hundred megapixel": {pngSize(10_000, 10_001), damage, "scale it down"},
		"JPEG and text":              {[]byte("\xff\xd8\xff" + text), alien, "begins like JPEG, but is none"},
		"JPEG too large":             {jpegSize(t, files["go.jpg"], 65535, 65535), damage, "65535 × 65535 pixels"},
		"JPEG without height":        {jpegSize(t, files["go.jpg"], 100, 0), damage, "100 × 0 pixels"},
		"JPEG without a picture":     {[]byte("\xff\xd8\xff\xfe\x00\x02\xff\xd9"), damage, "holds no picture"},
		"JPEG, a short segment":      {[]byte("\xff\xd8\xff\xe0\x00\x01\xff\xd9"), damage, "a segment without its length"},
		"GIF and text":               {[]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00" + text), alien, "begins like GIF, but is none"},
		"GIF too large":              {edit("go.gif", 6, "\xff\xff\xff\xff"), damage, "65535 × 65535 pixels"},
		"GIF without a picture":      {[]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), damage, "holds no picture"},
		"WebP and text":              {[]byte("RIFF\xff\x00\x00\x00WEBP" + text), alien, "begins like WebP, but is none"},
		"WebP too large":             {edit("lossless.webp", 21, "\xff\xff\xff\x0f"), damage, "16384 × 16384 pixels"},
		"WebP, a chunk too long":     {edit("lossless.webp", 16, "\xff\xff\x00\x00"), damage, "do not fit"},
		"WAV and binary":             {[]byte("RIFF\xff\x00\x00\x00WAVE" + strings.Repeat("\x01", 300)), damage, "no chunk"},
		"WAV without sound":          {wav(0, nil)[:36], damage, "ends before its sound does"},
		"Ogg and text":               {[]byte("OggS\x00\x00" + text), alien, "begins like Ogg, but is none"},
		"FLAC and text":              {[]byte("fLaC" + text), alien, "begins like FLAC, but is none"},
		"FLAC, a changed byte":       {edit("tone.flac", -40, "\x00\x00\x00"), damage, "checksum"},
		"M4A, a box without size":    {edit("tone.m4a", 0, "\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00M4A mp42\x00\x00\x00\x02"), damage, "box"},
		"MP3 and text":               {[]byte("\xff\xfb\x90\x64" + text), alien, "begins like MP3, but is none"},
		"ID3 and text":               {[]byte("ID3\x04\x00\x00\x00\x00\x00\x00" + text), alien, "begins like MP3, but is none"},
	} {
		wantRefused(t, what, judgedAll(t, formatFor(t, test.content), test.content), test.code, test.says)
	}
	if largest := pngSize(10_000, 10_000); judgedAll(t, formatFor(t, largest), largest) != nil {
		t.Error("a hundred megapixels are refused")
	}
}

// pngSize is a PNG whose header states this size.
func pngSize(width, height uint32) []byte {
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	content := png("")
	copy(content[8:], pngChunk("IHDR", string(header)+"\x08\x00\x00\x00\x00"))
	return content
}

// jpegSize is a JPEG whose frame header states another size.
func jpegSize(t *testing.T, content []byte, width, height uint16) []byte {
	t.Helper()
	at := bytes.Index(content, []byte{0xff, jpegSOF0})
	if at < 0 {
		t.Fatal("no SOF0")
	}
	content = slices.Clone(content)
	binary.BigEndian.PutUint16(content[at+5:], height)
	binary.BigEndian.PutUint16(content[at+7:], width)
	return content
}

// Whatever comes, in whatever pieces: an answer, always the same, and no more read than there is.
func FuzzInspection(f *testing.F) {
	for _, content := range wholeFiles(f) {
		f.Add(content)
		f.Add(content[:len(content)*2/3])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		format, err := formatOf(content[:min(len(content), sniffLength)], "", "")
		if err != nil {
			return
		}
		if err := judgedAll(t, format, content); err != nil && problemOf(err).status != 400 {
			t.Errorf("%v", err)
		}
	})
}

// However large a file and its parts are, its inspection holds no more than a header of it.
func TestInspectionMemory(t *testing.T) {
	piece := make([]byte, 32<<10)
	for _, head := range []string{
		"\x89PNG\r\n\x1a\n" + string(pngChunk("IHDR", "\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00")) + "\x7f\xff\xff\xffIDAT",
		"fLaC\x80\x00\x00\x22" + strings.Repeat("\x00", 34), string(wav(-1, nil)),
	} {
		i := inspect(formatFor(t, []byte(head)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := i.feed([]byte(head))
		for range (64 << 20) / len(piece) {
			err = errors.Join(err, i.feed(piece))
		}
		runtime.ReadMemStats(&after)
		i.stop()
		if grown := after.TotalAlloc - before.TotalAlloc; err != nil || grown > 256<<10 {
			t.Errorf("%.4q: 64 MB cost %d bytes of memory, %v", head, grown, err)
		}
	}
}

// BenchmarkInspection prints how fast each format is followed, and how much that adds to
// the hash that every upload is put through.
func BenchmarkInspection(b *testing.B) {
	asPNG, asJPEG, asGIF := encoded(b, noise(2500, 2000))
	files := wholeFiles(b)
	for name, content := range map[string][]byte{
		"PNG": asPNG, "JPEG": asJPEG, "GIF": asGIF, "WAV": wav(8<<20, make([]byte, 8<<20)),
		"FLAC": slices.Concat(files["tone.flac"], make([]byte, 8<<20)), // zeros leave its checksum as it is
		"Ogg":  bytes.Repeat(files["tone.ogg"], 1000), "MP3": bytes.Repeat(files["tone.mp3"], 1000),
	} {
		b.Run(name, func(b *testing.B) {
			format := formatFor(b, content)
			rate := func(work func()) float64 {
				start := time.Now()
				for range max(1, (64<<20)/len(content)) {
					work()
				}
				return float64(max(1, (64<<20)/len(content))*len(content)) / (1 << 20) / time.Since(start).Seconds()
			}
			var walked, hashed float64
			for b.Loop() {
				walked = rate(func() {
					if err := judged(format, content, func() int { return 4 << 10 }); err != nil { // what a multipart reader gives
						b.Fatal(err, details(err))
					}
				})
				hashed = rate(func() { sha256.Sum256(content) })
			}
			b.ReportMetric(walked, "MB/s")
			b.ReportMetric(hashed, "sha256-MB/s")
			b.ReportMetric(hashed/walked, "inspection/sha256")
			b.ReportMetric(0, "ns/op") // says nothing here
		})
	}
}

// Through the API: a file that is not whole is refused, and nothing of it is kept.
func TestDamagedUploads(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) { c.MaxFileSizeImage = 20 << 20 })
	token := p.register("alice").AccessToken
	upload := func(name string, content []byte) reply {
		return p.upload(token, newForm().file(name, "", content))
	}
	large := png(strings.Repeat("x", 11<<20)) // three parts in the bucket
	for name, content := range map[string][]byte{
		"cut.png": large[:7<<20], "end.png": large[:len(large)-1], "half.png": png("half")[:40], "text.png": []byte("\x89PNG\r\n\x1a\n and then some text"),
		"page.png": append(slices.Clone(large), "<html>"...),
	} {
		r := upload(name, content).want(400)
		var body struct {
			Error struct{ Code, Message string }
		}
		r.decode(&body)
		if want := map[bool]string{true: "INVALID_FILE_TYPE", false: "VALIDATION_ERROR"}[name == "text.png" || name == "page.png"]; body.Error.Code != want {
			t.Errorf("%s: %s, want %s", name, r.body, want)
		}
		p.wantNothing()
	}
	for name, content := range wholeFiles(t) {
		for _, n := range []int{len(content)/4 + 1, len(content) * 2 / 3, len(content) - 2} {
			if slices.Contains(streamed, name) || n < 16 {
				continue
			}
			upload(name, content[:n]).wantProblem(400, "VALIDATION_ERROR", "file")
		}
		p.wantNothing()
		a := decode1[assetBody](upload(name, content).want(201))
		if got := p.get(a.DownloadURL, token).want(200).body; !bytes.Equal(got, content) {
			t.Errorf("%s came back with %d bytes of %d", name, len(got), len(content))
		}
		p.do("DELETE", assetPath(a.ID)+"?permanent=true", token, nil).want(204)
	}
	p.wantNothing()
}
