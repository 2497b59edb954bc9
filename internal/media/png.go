package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// Colour types of PNG, of which the lowest bit says palette, the next colour, the third alpha.
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// pngHeader is IHDR, and what the chunks before the picture add to it.
type pngHeader struct {
	width, height int
	depth, kind   int
	interlaced    bool
	colours       []byte // PLTE, three bytes each
	transparent   []byte // tRNS
	profiled      bool   // an iCCP chunk came
	sRGB          bool   // there is a chunk that says so
}

// readPNG reads a PNG file (PNG, third edition). Of an animation (APNG), which is one
// file with it, it takes the picture that programs see which know no animations.
func readPNG(in *source, pic *picture) error {
	in.skip(8) // the signature
	head, err := readPNGHeader(in)
	if err != nil {
		return err
	}
	pic.ImageInfo = ImageInfo{Width: head.width, Height: head.height, Format: "png", Frames: 1}
	data, err := head.chunks(in, pic)
	if err != nil {
		return err
	}
	pic.HasAlpha = head.transparent != nil || head.kind == pngGreyAlpha || head.kind == pngRGBA
	if err := pic.checkSize(); err != nil {
		return err
	}
	return undecoded(head.decode(in, data, pic))
}

func (h *pngHeader) decode(in *source, data *pngData, pic *picture) error {
	unpacked, err := zlib.NewReader(data)
	if err != nil {
		return err
	}
	canvas := newCanvas(in, h.width, h.height, h.interlaced)
	if err := h.rows(unpacked, canvas); err != nil {
		return err
	}
	// This also compares the checksum. More rows than there should be are let pass.
	if _, err := io.CopyN(io.Discard, unpacked, 1<<20); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := io.Copy(io.Discard, data); err != nil {
		return err
	}
	if err := pic.readBehind(in); err != nil {
		return err
	}
	pic.raster = canvas.done()
	return nil
}

func readPNGHeader(in *source) (*pngHeader, error) {
	var b [25]byte // length, name, content, checksum
	if _, err := io.ReadFull(in, b[:]); err != nil {
		return nil, err
	}
	if string(b[4:8]) != "IHDR" {
		return nil, errors.New("no IHDR chunk")
	}
	width, height := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	h := &pngHeader{width: int(width), height: int(height), depth: int(b[16]), kind: int(b[17]), interlaced: b[20] == 1}
	depths := map[int]string{
		pngGrey: "\x01\x02\x04\x08\x10", pngRGB: "\x08\x10", pngPalette: "\x01\x02\x04\x08", pngGreyAlpha: "\x08\x10", pngRGBA: "\x08\x10",
	}
	switch {
	case width >= 1<<31 || height >= 1<<31 || bytes.IndexByte([]byte(depths[h.kind]), b[16]) < 0:
		return nil, fmt.Errorf("%d × %d pixels of kind %d with %d bits", width, height, h.kind, h.depth)
	case b[18] != 0 || b[19] != 0 || b[20] > 1:
		return nil, fmt.Errorf("compression %d, filter %d, interlace %d", b[18], b[19], b[20])
	}
	return h, nil
}

// chunks reads those before the picture, and returns the picture's.
func (h *pngHeader) chunks(in *source, pic *picture) (*pngData, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return nil, err
		}
		size, name := int64(binary.BigEndian.Uint32(b[:])), string(b[4:])
		limit := map[string]int64{"PLTE": 768, "tRNS": 256, "gAMA": 4, "cHRM": 32, "acTL": 8, "sRGB": 1, "iCCP": maxProfile, "eXIf": 1 << 16}[name]
		if name == "IDAT" {
			if h.kind == pngPalette && h.colours == nil {
				return nil, errors.New("no palette")
			}
			return &pngData{in: in, left: size}, nil
		}
		if size > limit { // that is, also those of which nothing is known
			in.skip(size + 4)
			continue
		}
		content := make([]byte, size)
		if _, err := io.ReadFull(in, content); err != nil {
			return nil, err
		}
		in.skip(4) // uploads compare the checksum
		h.chunk(name, content, pic)
	}
}

func (h *pngHeader) chunk(name string, content []byte, pic *picture) {
	switch {
	case name == "PLTE" && len(content) >= 3:
		h.colours = content[:len(content)/3*3]
	case name == "tRNS" && h.transparencyFits(content):
		h.transparent = content
	case name == "eXIf":
		pic.orientation = readOrientation(content)
	case name == "acTL" && len(content) == 8:
		pic.Frames = pngFrames(content)
	case name == "sRGB":
		h.sRGB, pic.profile = true, profile{}
	case h.sRGB:
	case name == "iCCP" && !h.profiled: // a picture has one, and each is a megabyte to unpack
		h.profiled, pic.profile.icc = true, unpackProfile(content)
	case name == "gAMA" && len(content) == 4:
		pic.profile.gamma = float64(binary.BigEndian.Uint32(content)) / 100_000
	case name == "cHRM" && len(content) == 32:
		var xy [8]float64
		for i := range xy {
			xy[i] = float64(binary.BigEndian.Uint32(content[4*i:])) / 100_000
		}
		pic.profile.primaries = &xy
	}
}

// transparencyFits says whether a tRNS chunk is one of this kind of picture.
func (h *pngHeader) transparencyFits(content []byte) bool {
	switch h.kind {
	case pngGrey:
		return len(content) == 2
	case pngRGB:
		return len(content) == 6
	case pngPalette:
		return len(content) > 0
	}
	return false
}

func pngFrames(acTL []byte) int { return max(1, int(binary.BigEndian.Uint32(acTL)&(1<<31-1))) }

// unpackProfile is the profile of an iCCP chunk, or nil.
func unpackProfile(chunk []byte) []byte {
	_, packed, ok := bytes.Cut(chunk, []byte{0})
	if !ok || len(packed) < 1 {
		return nil
	}
	r, err := zlib.NewReader(bytes.NewReader(packed[1:]))
	if err != nil {
		return nil
	}
	icc, err := io.ReadAll(io.LimitReader(r, maxProfile+1))
	if err != nil || len(icc) > maxProfile {
		return nil
	}
	return icc
}

// readBehind looks for what may stand behind the picture too.
func (p *picture) readBehind(in *source) error {
	for in.position() < in.size {
		var b [8]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return err
		}
		size, name := int64(binary.BigEndian.Uint32(b[:])), string(b[4:])
		if name == "IEND" {
			return nil
		}
		if name != "eXIf" || size > 1<<16 {
			in.skip(size + 4)
			continue
		}
		content := make([]byte, size)
		if _, err := io.ReadFull(in, content); err != nil {
			return err
		}
		p.orientation = readOrientation(content)
		in.skip(4)
	}
	return io.ErrUnexpectedEOF
}

// pngData is what the IDAT chunks hold, which is one stream.
type pngData struct {
	in   *source
	left int64 // of this chunk
	done bool  // what comes is a chunk of another kind
}

func (d *pngData) Read(p []byte) (int, error) {
	for d.left == 0 && !d.done {
		d.in.skip(4)
		b, err := d.in.Peek(8)
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		if string(b[4:]) != "IDAT" {
			d.done = true
			break
		}
		d.left = int64(binary.BigEndian.Uint32(b))
		d.in.skip(8)
	}
	if d.done {
		return 0, io.EOF
	}
	n, err := d.in.Read(p[:min(int64(len(p)), d.left)])
	d.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
