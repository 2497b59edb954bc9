package media

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// imagePeakLimit is how much memory any picture may take beyond what was there before.
const imagePeakLimit = 96 << 20

var paletteColour = regexp.MustCompile(`^#[0-9a-f]{6}$`)

// saneImage fails where what was read is not what the contract allows.
func saneImage(t testing.TB, info ImageInfo, thumbnails []Thumbnail, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !factsRemain(err) {
			t.Errorf("error of no kind: %v", err)
		}
		if strings.Contains(err.Error(), "panicked") {
			t.Error(err)
		}
		if thumbnails != nil || info.Palette != nil || !factsRemain(err) && info.Width != 0 {
			t.Errorf("%+v and %d thumbnails beside the error %v", info, len(thumbnails), err)
		}
		return
	}
	if info.Width < 1 || info.Height < 1 || info.Width*info.Height > MaxPixels || info.Frames < 1 || info.Format == "" || len(info.Palette) > paletteSize {
		t.Errorf("no error, and %+v", info)
	}
	for _, colour := range info.Palette {
		if !paletteColour.MatchString(colour) {
			t.Errorf("colour %q", colour)
		}
	}
	if len(thumbnails) < 1 || len(thumbnails) > len(sizes) {
		t.Fatalf("%d thumbnails", len(thumbnails))
	}
	for _, thumbnail := range thumbnails {
		config, _, err := image.DecodeConfig(bytes.NewReader(thumbnail.Bytes))
		if err != nil || config.Width != thumbnail.Width || config.Height != thumbnail.Height || max(config.Width, config.Height) > thumbnail.Size {
			t.Errorf("a thumbnail of %d × %d for %d: %v", thumbnail.Width, thumbnail.Height, thumbnail.Size, err)
		}
	}
}

// pngFile is one of so many pixels, whose rows are all of the same bytes.
func pngFile(t testing.TB, width, height uint32, depth, kind, interlace byte, rows int, row []byte, chunks ...[]byte) []byte {
	t.Helper()
	var data bytes.Buffer
	packer, err := zlib.NewWriterLevel(&data, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range rows {
		_, _ = packer.Write(row)
	}
	packer.Close()
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	file := withChunk([]byte("\x89PNG\r\n\x1a\n"), 8, "IHDR", append(header, depth, kind, 0, 0, interlace))
	for i := 0; i+1 < len(chunks); i += 2 {
		file = withChunk(file, len(file), string(chunks[i]), chunks[i+1])
	}
	file = withChunk(file, len(file), "IDAT", data.Bytes())
	return withChunk(file, len(file), "IEND", nil)
}

func jpegSegment(marker byte, content ...byte) []byte {
	return append(append([]byte{0xff, marker}, binary.BigEndian.AppendUint16(nil, uint16(len(content)+2))...), content...)
}

// jpegFile is one of so many pixels, in so many scans, of which each has codes of one
// bit that mean nothing but zeros, and the header that it is given.
func jpegFile(sof byte, width, height uint16, sampling []byte, scans int, scan func(i int) (header, data []byte)) []byte {
	file := []byte{0xff, jpegSOI}
	file = append(file, jpegSegment(jpegDQT, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...)...)
	frame := append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, height), width), byte(len(sampling)))
	for i, s := range sampling {
		frame = append(frame, byte(i+1), s, 0)
	}
	file = append(file, jpegSegment(sof, frame...)...)
	for class := range byte(2) { // codes: 0 for zero, 10 for the longest run of blocks
		table := append([]byte{class << 4, 1, 1}, make([]byte, 14)...)
		file = append(file, jpegSegment(jpegDHT, append(table, 0, class*0xe0)...)...)
	}
	for i := range scans {
		header, data := scan(i)
		file = append(append(file, jpegSegment(jpegSOS, header...)...), data...)
	}
	return append(file, 0xff, jpegEOI)
}

// allOf is the scan of all components of a sequential picture, or of the means of a
// progressive one, and its data, of so many blocks: bits of zero.
func allOf(components, blocks, bitsOfBlock int) (header, data []byte) {
	header = []byte{byte(components)}
	for i := range components {
		header = append(header, byte(i+1), 0)
	}
	return append(header, 0, 0, 0), make([]byte, blocks*bitsOfBlock/8+1)
}

func gifFile(width, height uint16, frame []byte, frames int) []byte {
	file := binary.LittleEndian.AppendUint16([]byte("GIF89a"), width)
	file = append(binary.LittleEndian.AppendUint16(file, height), 0x80, 0, 0, 0, 0, 0, 255, 255, 255)
	for range frames {
		file = append(file, frame...)
	}
	return append(file, ';')
}

// webpFile is one of chunks: name, content, and so on.
func webpFile(chunks ...[]byte) []byte {
	body := []byte("WEBP")
	for i := 0; i+1 < len(chunks); i += 2 {
		body = append(body, chunks[i]...)
		body = binary.LittleEndian.AppendUint32(body, uint32(len(chunks[i+1])))
		body = append(append(body, chunks[i+1]...), make([]byte, len(chunks[i+1])%2)...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

// noise is a picture of so many pixels that does not pack.
func noise(width, height int) *image.YCbCr {
	picture := image.NewYCbCr(image.Rect(0, 0, width, height), image.YCbCrSubsampleRatio420)
	random := rand.NewChaCha8([32]byte{1})
	for _, plane := range [][]byte{picture.Y, picture.Cb, picture.Cr} {
		_, _ = random.Read(plane)
	}
	return picture
}

func hostileImages(t testing.TB) []hostileFile {
	small := encoded(t, image.NewNRGBA(image.Rect(0, 0, 20, 20)))
	jpegSmall, _ := imageFile(t, "baseline.jpg")
	dot := []byte{',', 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0}
	progressive := func(scans int) []byte { // of means, then of nothing, many times
		return jpegFile(jpegSOF2, 10000, 10000, []byte{0x11, 0x11, 0x11}, scans, func(i int) (header, data []byte) {
			if i == 0 {
				return allOf(3, 3*1250*1250, 1)
			}
			return []byte{1, byte(i%3 + 1), 0, 1, 63, 0}, bytes.Repeat([]byte{0b10_00_00_00, 0, 0b10_00_00_00, 0}, 100)
		})
	}
	lossless := []byte{0x2f, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0}
	canvas := func(w, h int) []byte {
		return []byte{webpAlpha, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)}
	}
	return []hostileFile{
		{"empty png", "image/png", nil, 0},
		{"empty jpeg", "image/jpeg", nil, 0},
		{"empty gif", "image/gif", nil, 0},
		{"empty webp", "image/webp", nil, 0},
		{"png that ends", "image/png", pngFile(t, 10000, 10000, 8, 6, 0, 100, make([]byte, 40001)), 0},
		{"png of a row of 100 MP", "image/png", pngFile(t, 100_000_000, 1, 16, 6, 0, 0, nil), 0},
		{"png of 2^62 pixels", "image/png", pngFile(t, 1<<31-1, 1<<31-1, 8, 6, 0, 0, nil), 0},
		{"png of no pixels", "image/png", pngFile(t, 0, 10, 8, 6, 0, 0, nil), 0},
		{"png of no palette", "image/png", pngFile(t, 10, 10, 8, 3, 0, 10, make([]byte, 11)), 0},
		{"png of filter 9", "image/png", pngFile(t, 10, 10, 8, 0, 0, 10, bytes.Repeat([]byte{9}, 11)), 0},
		{"png of a million chunks", "image/png", slices.Concat(small[:33], bytes.Repeat([]byte("\x00\x00\x00\x00aaAa\x00\x00\x00\x00"), 1_000_000), small[33:]), 0},
		{"png of a million empty IDAT", "image/png", slices.Concat(small[:33], bytes.Repeat([]byte("\x00\x00\x00\x00IDAT\x00\x00\x00\x00"), 1_000_000), small[33:]), 0},
		{"png of 2^31 frames", "image/png", withChunk(small, 33, "acTL", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}), 0},
		{"jpeg of 100 MP", "image/jpeg", jpegFile(jpegSOF0, 10000, 10000, []byte{0x22, 0x11, 0x11}, 1, func(int) ([]byte, []byte) { return allOf(3, 6*625*625, 2) }), 0},
		{"jpeg of 100 MP in a scan each", "image/jpeg", jpegFile(jpegSOF0, 10000, 10000, []byte{0x11, 0x11, 0x11}, 3, func(i int) ([]byte, []byte) {
			return []byte{1, byte(i + 1), 0, 0, 0, 0}, make([]byte, 1250*1250/4+1)
		}), 0},
		{"jpeg of 100 MP, progressive", "image/jpeg", progressive(12), 0},
		{"jpeg of 5,000 scans", "image/jpeg", progressive(5000), 0},
		{"jpeg of 100 MP of four colours, progressive", "image/jpeg", jpegFile(jpegSOF2, 10000, 10000, []byte{0x11, 0x11, 0x11, 0x11}, 1, func(int) ([]byte, []byte) { return allOf(4, 4*1250*1250, 1) }), 0},
		{"jpeg that ends", "image/jpeg", jpegFile(jpegSOF0, 10000, 10000, []byte{0x22, 0x11, 0x11}, 1, func(int) ([]byte, []byte) { return allOf(3, 1000, 2) }), 0},
		{"jpeg of 4 × 4 samples", "image/jpeg", jpegFile(jpegSOF0, 65500, 1500, []byte{0x44, 0x11, 0x13}, 1, func(int) ([]byte, []byte) { return allOf(3, 20*2047*47, 2) }), 0},
		{"jpeg of arithmetic codes", "image/jpeg", jpegFile(0xc9, 100, 100, []byte{0x11}, 0, nil), 0},
		{"jpeg of 12 bits", "image/jpeg", patched(jpegFile(jpegSOF1, 100, 100, []byte{0x11}, 0, nil), 2+69+4, 12), 0},
		{"jpeg of two frames", "image/jpeg", slices.Concat(jpegSmall[:len(jpegSmall)-2], jpegSmall[2:]), 0},
		{"jpeg of a million comments", "image/jpeg", slices.Concat(jpegSmall[:2], bytes.Repeat(jpegSegment(0xfe), 1_000_000), jpegSmall[2:]), 0},
		{"jpeg with 64 MB of profile", "image/jpeg", slices.Concat(jpegSmall[:2], bytes.Repeat(jpegSegment(jpegAPP2, append([]byte("ICC_PROFILE\x00\x01\x01"), make([]byte, 65000)...)...), 1000), jpegSmall[2:]), 0},
		{"jpeg of 16 MB of 0xff", "image/jpeg", slices.Concat(jpegSmall[:2], bytes.Repeat([]byte{0xff}, 16<<20)), 0},
		{"gif of 65535 × 1525", "image/gif", gifFile(65535, 1525, dot, 1), 0},
		{"gif of 500,000 frames", "image/gif", gifFile(100, 100, dot, 500_000), 0},
		{"gif of a frame beyond its screen", "image/gif", gifFile(100, 100, []byte{',', 90, 0, 90, 0, 0xff, 0xff, 0xff, 0xff, 0x40, 2, 2, 0x44, 1, 0}, 1), 0},
		{"gif of a frame right of its screen", "image/gif", gifFile(20, 20, []byte{',', 200, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0}, 1), 0},
		{"gif without a frame", "image/gif", gifFile(100, 100, dot, 0), 0},
		{"webp lossless of 268 MP", "image/webp", webpFile([]byte("VP8L"), lossless), 0},
		{"webp of a large frame on a small canvas", "image/webp", webpFile([]byte("VP8X"), canvas(9, 9), []byte("VP8L"), lossless), 0},
		{"webp of 2^48 pixels", "image/webp", webpFile([]byte("VP8X"), canvas(1<<24-1, 1<<24-1), []byte("VP8L"), []byte{0x2f, 0, 0, 0, 0, 0}), 0},
		{"webp of frames in frames", "image/webp", webpFile([]byte("VP8X"), canvas(9, 9), []byte("ANMF"), bytes.Repeat([]byte("ANMF\x00\x00\x00\x00"), 100_000)), 0},
		{"webp of a header alone", "image/webp", webpFile([]byte("VP8X"), canvas(9, 9)), 0},
	}
}

// withProfiles is a PNG file with so many profiles.
func withProfiles(t testing.TB, file, profile []byte, n int) []byte {
	t.Helper()
	var packed bytes.Buffer
	packer := zlib.NewWriter(&packed)
	_, _ = packer.Write(profile)
	packer.Close()
	one := withChunk(file, 33, "iCCP", append([]byte("x\x00\x00"), packed.Bytes()...))
	return slices.Concat(file[:33], bytes.Repeat(one[33:len(one)-len(file)+33], n), file[33:])
}

// bombs are pictures that are much larger than their files.
func bombs(t testing.TB) []hostileFile {
	small := encoded(t, image.NewNRGBA(image.Rect(0, 0, 20, 20)))
	var out bytes.Buffer
	packer, err := zlib.NewWriterLevel(&out, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range 256 {
		_, _ = packer.Write(make([]byte, 1<<20))
	}
	packer.Close()
	bomb := out.Bytes()
	return []hostileFile{
		{"png of 100 MP", "image/png", pngFile(t, 10000, 10000, 8, 6, 0, 10000, make([]byte, 40001)), 0},
		{"png of 100 MP and 16 bits", "image/png", pngFile(t, 10000, 10000, 16, 6, 0, 10000, make([]byte, 80001)), 0},
		{"png of 100 MP, interlaced", "image/png", pngFile(t, 10000, 10000, 8, 6, 1, 1, make([]byte, 410_000_000)), 0},
		{"png of 100 MP of one bit", "image/png", pngFile(t, 10000, 10000, 1, 0, 0, 10000, make([]byte, 1251)), 0},
		{"png of a row of 200,000", "image/png", pngFile(t, 200_000, 500, 16, 6, 0, 500, make([]byte, 1_600_001)), 0},
		{"png of a column of 200,000", "image/png", pngFile(t, 500, 200_000, 8, 6, 0, 200_000, make([]byte, 2001)), 0},
		{"png with a profile of 256 MB", "image/png", withChunk(small, 33, "iCCP", append([]byte("x\x00\x00"), bomb...)), 0},
		{"png with 4,000 profiles of 1 MB", "image/png", withProfiles(t, small, make([]byte, maxProfile), 4000), 0},
		{"png with text of 256 MB", "image/png", withChunk(small, 33, "zTXt", append([]byte("x\x00\x00"), bomb...)), 0},
		{"png of 256 MB for 20 × 20", "image/png", pngFile(t, 20, 20, 8, 6, 0, 256, make([]byte, 1<<20)), 0},
	}
}

// TestHostileImages: an error or success, within bounds.
func TestHostileImages(t *testing.T) {
	for _, file := range append(hostileImages(t), bombs(t)...) {
		t.Run(file.name, func(t *testing.T) {
			var info ImageInfo
			var thumbnails []Thumbnail
			var err error
			var took time.Duration
			peak := peakMemory(func() {
				began := time.Now()
				info, thumbnails, err = readImageBytes(file.content, file.mimeType)
				took = time.Since(began)
			})
			t.Logf("%s, %d KiB: %d × %d, %v", took.Round(time.Millisecond), peak>>10, info.Width, info.Height, err)
			saneImage(t, info, thumbnails, err)
			if peak > imagePeakLimit {
				t.Errorf("%d MiB of memory", peak>>20)
			}
		})
	}
}

// TestLargestJPEG: what a picture of 100 million pixels that does not pack costs.
func TestLargestJPEG(t *testing.T) {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, noise(10000, 10000), &jpeg.Options{Quality: 20}); err != nil {
		t.Fatal(err)
	}
	peak := peakMemory(func() {
		info, thumbnails, err := readImageBytes(out.Bytes(), "image/jpeg")
		if err != nil || len(thumbnails) != 3 {
			t.Errorf("%+v, %v", info, err)
		}
	})
	t.Logf("%d MB of file, %d KiB of memory", out.Len()/1_000_000, peak>>10)
	if peak > imagePeakLimit/4 {
		t.Errorf("%d MiB of memory", peak>>20)
	}
}

// TestPNGHasOneProfile: others are not even unpacked.
func TestPNGHasOneProfile(t *testing.T) {
	pic := &picture{}
	file := withProfiles(t, withProfiles(t, encoded(t, image.NewNRGBA(image.Rect(0, 0, 20, 20))), []byte("second"), 1), []byte("first"), 1)
	in := newSource(t.Context(), bytes.NewReader(file[8:]), int64(len(file)-8))
	h, err := readPNGHeader(in)
	if err == nil {
		_, err = h.chunks(in, pic)
	}
	if err != nil || string(pic.profile.icc) != "first" {
		t.Errorf("%q, %v", pic.profile.icc, err)
	}
}

func TestCutImages(t *testing.T) {
	for _, name := range imageFiles(t) {
		content, mimeType := imageFile(t, name)
		for tenth := range 10 {
			info, thumbnails, err := readImageBytes(content[:len(content)*tenth/10], mimeType)
			saneImage(t, info, thumbnails, err)
			if err == nil {
				t.Errorf("%s: %d tenths of it decode", name, tenth)
			}
		}
	}
}

// TestImageStopsWithItsContext: also where few bytes are many pixels.
func TestImageStopsWithItsContext(t *testing.T) {
	content := pngFile(t, 10000, 10000, 8, 6, 0, 10000, make([]byte, 40001))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := ReadImage(ctx, bytes.NewReader(content), int64(len(content)), "image/png")
	t.Logf("stopped after %s", time.Since(began).Round(time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestImageTellsWhyItCannotRead: an error of the file is not the picture's.
func TestImageTellsWhyItCannotRead(t *testing.T) {
	failing := errors.New("the bucket is away")
	for mimeType := range pictures {
		_, _, err := ReadImage(context.Background(), readerAt(func([]byte, int64) (int, error) { return 0, failing }), 1000, mimeType)
		if !errors.Is(err, failing) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", mimeType, err)
		}
	}
}

type readerAt func([]byte, int64) (int, error)

func (f readerAt) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }

func FuzzReadImage(f *testing.F) {
	types := []string{"image/png", "image/jpeg", "image/gif", "image/webp"}
	add := func(content []byte, mimeType string) {
		if len(content) < 100_000 {
			f.Add(content, uint8(slices.Index(types, mimeType)))
		}
	}
	for _, name := range imageFiles(f) {
		add(imageFile(f, name))
	}
	for _, file := range hostileImages(f) {
		add(file.content, file.mimeType)
	}
	f.Fuzz(func(t *testing.T, content []byte, which uint8) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		info, thumbnails, err := ReadImage(ctx, bytes.NewReader(content), int64(len(content)), types[int(which)%len(types)])
		saneImage(t, info, thumbnails, err)
	})
}
