package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Markers of JPEG, the byte behind 0xff (ITU-T T.81, table B.1).
const (
	jpegSOF0  = 0xc0 // baseline
	jpegSOF1  = 0xc1 // sequential with longer codes, and 12 bits
	jpegSOF2  = 0xc2 // progressive
	jpegDHT   = 0xc4
	jpegJPG   = 0xc8
	jpegDAC   = 0xcc
	jpegSOF15 = 0xcf
	jpegRST0  = 0xd0 // up to RST7
	jpegSOI   = 0xd8
	jpegEOI   = 0xd9
	jpegSOS   = 0xda
	jpegDQT   = 0xdb
	jpegDRI   = 0xdd
	jpegAPP1  = 0xe1
	jpegAPP2  = 0xe2
	jpegAPP14 = 0xee
)

// jpegReader decodes a JPEG file. Of a large one it reconstructs each block of 8 × 8 with
// fewer pixels, from the coefficients of its coarse parts alone: the picture is shrunk
// well by it, and what was left out is never held.
type jpegReader struct {
	in          *source
	pic         *picture
	size        int // pixels that a block becomes in each direction: 8, 4, 2 or 1
	progressive bool
	buffered    bool // coefficients are kept until the end: a scan holds less than all of a pixel
	parts       []*jpegPart
	hmax, vmax  int
	mcusX       int // units of hmax × vmax blocks
	mcusY       int
	quant       [4]*[64]int32 // by the coefficients' numbers
	huff        [2][4]*huffman
	interval    int // between restarts, MCUs; 0: none
	adobe       int // how colours are stored, by Adobe's segment; -1: it is not there
	icc         bytes.Buffer
	bits        bitReader
	eobRun      int       // blocks that are still to be passed
	visited     int64     // blocks, in all scans
	block       [65]int32 // the one that is decoded; the last is for what is not kept
	canvas      *canvas
	colours     func(to []byte, rows [4][]byte)
	rows        [4][]byte // of each component, where it has fewer pixels than the picture
	pixels      []byte
}

// jpegPart is a component: Y, Cb, and so on.
type jpegPart struct {
	id, h, v, tq   int
	size           int // pixels that a block becomes
	blocksX        int // those that hold pixels
	blocksY        int
	stride         int // blocks in a row with those that fill the last MCU
	dc, ac         *huffman
	predicted      int32
	scanned        bool
	scale          [64]int32  // of each coefficient that is kept: its quantization
	keep           *[64]uint8 // where the coefficients are kept, by their number in the file
	coefficients   []int16    // size × size of each block, where they are buffered
	nonzero        []uint64   // of each block, a bit for each number, of progressive files
	plane          []byte     // a row of MCUs, in pixels
	columns        []int32    // which of them each pixel of the picture takes, nil: the same one
	transformBlock func(block *[65]int32, to []byte, stride int)
}

// maxVisited bounds how many blocks are decoded over all scans of a file: a picture of
// 100 million pixels in 20 scans, far more of a smaller one. Scans may be empty but for
// their headers, and each goes over the whole picture.
const maxVisited = 100_000_000

func readJPEG(in *source, pic *picture) error {
	pic.ImageInfo = ImageInfo{Format: "jpeg", Frames: 1}
	j := &jpegReader{in: in, adobe: -1, pic: pic}
	in.skip(2) // SOI
	err := j.segments()
	if err == nil {
		err = j.finish()
	}
	if j.parts == nil { // its size is not known
		return err
	}
	return undecoded(err)
}

// segments reads them up to the end of the picture.
func (j *jpegReader) segments() error {
	for {
		marker, err := j.marker()
		switch {
		case err != nil:
			return err
		case marker == jpegEOI:
			return nil
		case marker == 0x01, marker >= jpegRST0 && marker < jpegSOI:
			continue // has no content
		}
		var b [2]byte
		if _, err := io.ReadFull(j.in, b[:]); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint16(b[:])) - 2
		if size < 0 {
			return errors.New("a segment without its length")
		}
		if marker >= 0xe0 && marker != jpegAPP1 && marker != jpegAPP2 && marker != jpegAPP14 {
			j.in.skip(int64(size))
			continue
		}
		content := make([]byte, size)
		if _, err := io.ReadFull(j.in, content); err != nil {
			return err
		}
		if err := j.segment(marker, content); err != nil {
			return err
		}
	}
}

// marker finds the next one. What stands before it is passed, as other programs do.
func (j *jpegReader) marker() (byte, error) {
	for {
		b, err := j.in.ReadByte()
		for err == nil && b != 0xff {
			b, err = j.in.ReadByte()
		}
		for err == nil && b == 0xff {
			b, err = j.in.ReadByte()
		}
		if err != nil || b != 0 {
			return b, err
		}
	}
}

func (j *jpegReader) segment(marker byte, content []byte) error {
	switch {
	case marker == jpegDHT:
		return j.tables(content)
	case marker == jpegDQT:
		return j.quantization(content)
	case marker == jpegSOS:
		return j.scan(content)
	case marker == jpegDAC:
		return fmt.Errorf("%w: JPEG with arithmetic codes", ErrUnsupported)
	case marker >= jpegSOF0 && marker <= jpegSOF15 && marker != jpegJPG:
		return j.frame(marker, content)
	case marker == jpegDRI && len(content) >= 2:
		j.interval = int(binary.BigEndian.Uint16(content))
	case marker == jpegAPP1 && bytes.HasPrefix(content, []byte("Exif\x00\x00")) && j.pic.orientation == 1:
		j.pic.orientation = readOrientation(content)
	case marker == jpegAPP2 && bytes.HasPrefix(content, []byte("ICC_PROFILE\x00")) && len(content) > 14:
		// The pieces are numbered, and everybody writes them in that order (ICC.1, annex B.4).
		if j.icc.Len()+len(content) <= maxProfile {
			j.icc.Write(content[14:])
		}
	case marker == jpegAPP14 && bytes.HasPrefix(content, []byte("Adobe")) && len(content) >= 12:
		j.adobe = int(content[11])
	}
	return nil
}

// frame reads a frame header (ITU-T T.81, B.2.2).
func (j *jpegReader) frame(marker byte, content []byte) error {
	if j.parts != nil || len(content) < 6 {
		return fmt.Errorf("%w: a second frame, or a short one", ErrDamaged)
	}
	info := &j.pic.ImageInfo
	info.Height, info.Width = int(binary.BigEndian.Uint16(content[1:])), int(binary.BigEndian.Uint16(content[3:]))
	count := int(content[5])
	if err := info.checkSize(); err != nil {
		return err
	}
	switch {
	case marker > jpegSOF2:
		return fmt.Errorf("%w: JPEG of kind %d", ErrUnsupported, marker-jpegSOF0)
	case content[0] != 8:
		return fmt.Errorf("%w: JPEG with %d bits", ErrUnsupported, content[0])
	case count != 1 && count != 3 && count != 4:
		return fmt.Errorf("%w: JPEG of %d components", ErrUnsupported, count)
	case len(content) < 6+3*count:
		return errors.New("a short frame header")
	}
	j.progressive = marker == jpegSOF2
	for i := range count {
		b := content[6+3*i:]
		part := &jpegPart{id: int(b[0]), h: int(b[1] >> 4), v: int(b[1] & 15), tq: int(b[2])}
		if part.h < 1 || part.h > 4 || part.v < 1 || part.v > 4 || part.tq > 3 {
			return errors.New("a component that JPEG does not have")
		}
		if count == 1 {
			part.h, part.v = 1, 1 // a scan of one component has no MCUs of several blocks (A.2.2)
		}
		j.hmax, j.vmax = max(j.hmax, part.h), max(j.vmax, part.v)
		j.parts = append(j.parts, part)
	}
	j.layOut()
	return nil
}

// layOut decides how large blocks become, and makes what holds them.
func (j *jpegReader) layOut() {
	width, height := j.pic.Width, j.pic.Height
	for j.size = 8; j.size > 1 && max(width, height)*j.size/16 >= enoughBlocks; {
		j.size /= 2
	}
	j.mcusX, j.mcusY = ceilDiv(width, 8*j.hmax), ceilDiv(height, 8*j.vmax)
	for _, p := range j.parts {
		p.blocksX, p.blocksY = ceilDiv(width*p.h, 8*j.hmax), ceilDiv(height*p.v, 8*j.vmax)
		p.stride = j.mcusX * p.h
		// One that has fewer blocks than others can be given more pixels of each.
		for p.size = j.size; p.size < 8 && p.size*2*p.h <= j.size*j.hmax && p.size*2*p.v <= j.size*j.vmax; {
			p.size *= 2
		}
		p.keep, p.transformBlock = keepOf[p.size], inverseOf[p.size]
	}
}

// enoughBlocks is how long the longer side is at least of what blocks become, where the
// picture is no shorter: blocks shrink better than canvas does, so less than enough will do.
const enoughBlocks = largest * 5 / 4

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// quantization reads DQT (ITU-T T.81, B.2.4.1).
func (j *jpegReader) quantization(content []byte) error {
	for len(content) > 0 {
		wide, id := int(content[0]>>4), content[0]&15
		content = content[1:]
		if wide > 1 || id > 3 || len(content) < 64*(wide+1) {
			return errors.New("a quantization table that JPEG does not have")
		}
		table := new([64]int32)
		for i := range table {
			if wide == 0 {
				table[i] = int32(content[i])
			} else {
				table[i] = int32(binary.BigEndian.Uint16(content[2*i:]))
			}
		}
		content = content[64*(wide+1):]
		j.quant[id] = table
	}
	return nil
}

// tables reads DHT (ITU-T T.81, B.2.4.2).
func (j *jpegReader) tables(content []byte) error {
	for len(content) >= 17 {
		class, id := content[0]>>4, content[0]&15
		if class > 1 || id > 3 {
			return errors.New("a Huffman table that JPEG does not have")
		}
		table, size, err := newHuffman(content[1:])
		if err != nil {
			return err
		}
		j.huff[class][id] = table
		content = content[1+size:]
	}
	if len(content) > 0 {
		return errors.New("a short Huffman table")
	}
	return nil
}

// finish makes the picture of what was kept.
func (j *jpegReader) finish() error {
	if j.parts == nil {
		return errors.New("no picture")
	}
	for _, p := range j.parts {
		if !p.scanned {
			return errors.New("a component without a scan")
		}
	}
	if j.buffered {
		for y := range j.mcusY {
			if err := j.reconstruct(y); err != nil {
				return err
			}
		}
	}
	j.pic.raster = j.canvas.done()
	if j.icc.Len() > 0 {
		j.pic.profile.icc = j.icc.Bytes()
	}
	return nil
}
