package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"

	"golang.org/x/image/webp"
)

// Most pixels of a WebP frame that are decoded. The decoder holds all of it: 1.5 bytes
// for each lossy pixel, 4 for a lossless one, and 6 while it has at most 16 colours, and
// a byte more of the alpha of lossy ones, which is packed like a lossless picture.
const (
	maxLossyPixels    = 50_000_000
	maxLosslessPixels = 4096 * 4096
	maxAlphaPixels    = 12_000_000
)

// Flags of VP8X.
const (
	webpAnimated = 0x02
	webpAlpha    = 0x10
)

// webpReader reads a WebP file (RFC 9649).
type webpReader struct {
	in       *source
	pic      *picture
	animated bool
	extended bool
	frame    *webpFrame // the first one
}

// webpFrame is where the parts of a frame are, and its place.
type webpFrame struct {
	left, top     int
	width, height int // pixels
	lossless      bool
	alphaUsed     bool // the lossless stream says so
	alpha, data   *io.SectionReader
}

func readWebP(in *source, pic *picture) error {
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WEBP" {
		return errors.New("no WebP header")
	}
	pic.ImageInfo = ImageInfo{Format: "webp", Frames: 1}
	w := &webpReader{in: in, pic: pic}
	if err := w.chunks(8 + int64(binary.LittleEndian.Uint32(head[4:]))); err != nil {
		return err
	}
	f := w.frame
	if f == nil || f.data == nil {
		return errors.New("no picture")
	}
	if err := f.measure(); err != nil {
		return err
	}
	if !w.extended {
		w.pic.Width, w.pic.Height, w.pic.HasAlpha = f.width, f.height, f.alphaUsed
	}
	if err := w.checkSize(); err != nil {
		return err
	}
	canvas := newCanvas(in, w.pic.Width, w.pic.Height, false)
	if err := f.decode(canvas); err != nil {
		return undecoded(err)
	}
	w.pic.raster = canvas.done()
	return nil
}

// checkSize refuses what cannot be, and what the decoder would need too much memory for.
func (w *webpReader) checkSize() error {
	f := w.frame
	if f.left+f.width > w.pic.Width || f.top+f.height > w.pic.Height || !w.animated && (f.width != w.pic.Width || f.height != w.pic.Height) {
		return fmt.Errorf("%w: a frame of %d × %d pixels on %d × %d", ErrDamaged, f.width, f.height, w.pic.Width, w.pic.Height)
	}
	if err := w.pic.checkSize(); err != nil {
		return err
	}
	limit := maxLossyPixels
	switch {
	case f.lossless:
		limit = maxLosslessPixels
	case f.alpha != nil:
		limit = maxAlphaPixels
	}
	if f.width*f.height > limit {
		return fmt.Errorf("%w: a WebP picture of %d × %d pixels, of which all would be held", ErrTooLarge, f.width, f.height)
	}
	return nil
}

// chunks reads those up to end, which the header states.
func (w *webpReader) chunks(end int64) error {
	frames := 0
	for w.in.position()+8 <= min(end, w.in.size) {
		name, size, err := w.chunk()
		if err != nil {
			return err
		}
		if w.in.position()+size > w.in.size {
			return io.ErrUnexpectedEOF
		}
		next := w.in.position() + size + size%2
		switch name {
		case "VP8X":
			err = w.header(size)
		case "ICCP":
			w.pic.profile.icc, err = w.content(size, maxProfile)
		case "EXIF":
			var exif []byte
			exif, err = w.content(size, 1<<16)
			w.pic.orientation = readOrientation(exif)
		case "ANMF":
			if frames++; frames == 1 {
				err = w.animationFrame(size)
			}
		case "VP8 ", "VP8L", "ALPH":
			w.part(name, size)
		}
		if err != nil {
			return err
		}
		w.in.skip(next - w.in.position())
	}
	if w.animated {
		w.pic.Frames = max(1, frames)
	}
	return nil
}

func (w *webpReader) chunk() (name string, size int64, err error) {
	var b [8]byte
	_, err = io.ReadFull(w.in, b[:])
	return string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:])), err
}

// content is what a chunk holds if it is no more than limit.
func (w *webpReader) content(size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, nil
	}
	b := make([]byte, size)
	_, err := io.ReadFull(w.in, b)
	return b, err
}

func (w *webpReader) header(size int64) error {
	b, err := w.content(size, 1<<10)
	if err != nil || len(b) < 10 {
		return errors.New("VP8X chunk of a wrong size")
	}
	w.extended = true
	w.animated, w.pic.HasAlpha = b[0]&webpAnimated != 0, b[0]&webpAlpha != 0
	w.pic.Width, w.pic.Height = uint24(b[4:])+1, uint24(b[7:])+1
	return nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// animationFrame reads the parts of a frame, which are chunks in a chunk.
func (w *webpReader) animationFrame(size int64) error {
	end := w.in.position() + size
	var b [16]byte
	if _, err := io.ReadFull(w.in, b[:]); err != nil {
		return err
	}
	w.frame = &webpFrame{left: 2 * uint24(b[:]), top: 2 * uint24(b[3:])}
	for w.in.position()+8 <= end {
		name, size, err := w.chunk()
		if err != nil {
			return err
		}
		w.part(name, size)
		w.in.skip(size + size%2)
	}
	return nil
}

// part notes where a part of the frame is.
func (w *webpReader) part(name string, size int64) {
	if w.frame == nil {
		w.frame = &webpFrame{}
	}
	f := w.frame
	at := io.NewSectionReader(w.in, w.in.position(), size)
	switch {
	case name == "ALPH" && f.alpha == nil && f.data == nil:
		f.alpha = at
	case (name == "VP8 " || name == "VP8L") && f.data == nil:
		f.data, f.lossless = at, name == "VP8L"
	}
}

// measure reads the size from the stream's own header.
func (f *webpFrame) measure() error {
	var b [10]byte
	if n, err := f.data.ReadAt(b[:], 0); err != nil && n < 5 {
		return err
	}
	if f.lossless { // RFC 9649, 3.4
		bits := binary.LittleEndian.Uint32(b[1:])
		f.width, f.height, f.alphaUsed = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1, bits>>28&1 != 0
		f.alpha = nil
		return nil
	}
	f.width, f.height = int(binary.LittleEndian.Uint16(b[6:]))&0x3fff, int(binary.LittleEndian.Uint16(b[8:]))&0x3fff // RFC 6386, 9.1
	if f.width == 0 || f.height == 0 {
		return errors.New("no pixels")
	}
	return nil
}

// file is the frame as a file of its own, with no more than what the decoder asks for.
func (f *webpFrame) file() io.Reader {
	name, chunks := "VP8 ", []io.Reader(nil)
	if f.lossless {
		name = "VP8L"
	}
	add := func(name string, size int64, content io.Reader) {
		head := binary.LittleEndian.AppendUint32([]byte(name), uint32(size))
		chunks = append(chunks, bytes.NewReader(head), content, bytes.NewReader(make([]byte, size%2)))
	}
	total := int64(4)
	if f.alpha != nil {
		w, h := f.width-1, f.height-1
		add("VP8X", 10, bytes.NewReader([]byte{webpAlpha, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)}))
		add("ALPH", f.alpha.Size(), f.alpha)
		total += 18 + 8 + f.alpha.Size() + f.alpha.Size()%2
	}
	add(name, f.data.Size(), f.data)
	total += 8 + f.data.Size() + f.data.Size()%2
	head := append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(total)), "WEBP"...)
	return io.MultiReader(append([]io.Reader{bytes.NewReader(head)}, chunks...)...)
}

func (f *webpFrame) decode(to *canvas) error {
	decoded, err := webp.Decode(f.file())
	if err != nil {
		return err
	}
	if size := decoded.Bounds().Size(); size.X != f.width || size.Y != f.height {
		return fmt.Errorf("%w: %v pixels, not %d × %d", ErrDamaged, size, f.width, f.height)
	}
	row := make([]byte, 4*f.width)
	for y := range f.height {
		switch decoded := decoded.(type) {
		case *image.NRGBA:
			row = decoded.Pix[decoded.Stride*y:][:4*f.width]
			if !f.alphaUsed { // what the alpha channel holds then is nothing
				for i := 3; i < len(row); i += 4 {
					row[i] = 255
				}
			}
		case *image.YCbCr:
			webpRow(row, decoded, y, nil)
		case *image.NYCbCrA:
			webpRow(row, &decoded.YCbCr, y, decoded.A[decoded.AStride*y:][:f.width])
		default:
			return fmt.Errorf("%w: a %T", ErrUnsupported, decoded)
		}
		if err := to.put(f.left, f.top+y, 1, row); err != nil {
			return err
		}
	}
	return nil
}

// webpRow makes a row of RGB of WebP's YCbCr, which is that of video: luma from 16 to 235
// (RFC 9649, 2.5, by ITU-R BT.601), not that of JPEG, which image.YCbCr stands for.
func webpRow(to []byte, from *image.YCbCr, y int, alpha []byte) {
	luma := from.Y[from.YStride*y:]
	cb, cr := from.Cb[from.CStride*(y/2):], from.Cr[from.CStride*(y/2):]
	const shift = 16
	for x := range len(to) / 4 {
		l := (int32(luma[x]) - 16) * 76309 // 255/219
		b, r := int32(cb[x/2])-128, int32(cr[x/2])-128
		l += 1 << (shift - 1)
		p := to[4*x:][:4]
		p[0] = clamp((l + 104597*r) >> shift)
		p[1] = clamp((l - 25675*b - 53279*r) >> shift)
		p[2] = clamp((l + 132201*b) >> shift)
		p[3] = 255
		if alpha != nil {
			p[3] = alpha[x]
		}
	}
}

func clamp(v int32) byte { return byte(max(0, min(255, v))) }
