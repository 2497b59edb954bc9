package media

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"io"
)

// gifReader reads a GIF file (GIF89a).
type gifReader struct {
	in          *source
	pic         *picture
	colours     []byte // three bytes each
	transparent int    // index of the colour that is not seen, or -1
}

// readGIF counts the frames and composes the first one on its screen. What it leaves free
// there is transparent, as browsers have it, whatever background the file states.
func readGIF(in *source, pic *picture) error {
	var head [13]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	if string(head[:4]) != "GIF8" {
		return errors.New("no GIF header")
	}
	pic.ImageInfo = ImageInfo{
		Width: int(binary.LittleEndian.Uint16(head[6:])), Height: int(binary.LittleEndian.Uint16(head[8:])), Format: "gif",
	}
	if err := pic.checkSize(); err != nil {
		return err
	}
	g := &gifReader{in: in, transparent: -1, pic: pic}
	err := g.blocks(head[10])
	if err != nil {
		pic.Frames, pic.HasAlpha = 0, g.transparent >= 0 // how many there are is not known
	}
	return undecoded(err)
}

// blocks reads all that is behind the header, whose flags these are.
func (g *gifReader) blocks(flags byte) error {
	var err error
	if g.colours, err = g.table(flags); err != nil {
		return err
	}
	for {
		block, err := g.in.ReadByte()
		switch {
		case err != nil:
			return err
		case block == '!':
			err = g.extension()
		case block == ',':
			err = g.image()
		case block == ';' && g.pic.Frames > 0:
			return nil
		default:
			return errors.New("no block where one should begin")
		}
		if err != nil {
			return err
		}
	}
}

// table reads the colours that flags announce, or none.
func (g *gifReader) table(flags byte) ([]byte, error) {
	if flags&0x80 == 0 {
		return nil, nil
	}
	colours := make([]byte, 3<<(flags&7+1))
	_, err := io.ReadFull(g.in, colours)
	return colours, err
}

// extension reads a block of which only the transparent colour counts, and this of the first frame.
func (g *gifReader) extension() error {
	label, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	if label == 0xf9 && g.pic.Frames == 0 {
		control, err := g.in.Peek(6)
		if err != nil {
			return err
		}
		if g.transparent = -1; control[0] >= 4 && control[1]&1 != 0 {
			g.transparent = int(control[4])
		}
	}
	return g.skipBlocks()
}

// skipBlocks passes sub-blocks up to the empty one that ends them.
func (g *gifReader) skipBlocks() error {
	for {
		size, err := g.in.ReadByte()
		if err != nil || size == 0 {
			return err
		}
		g.in.skip(int64(size))
	}
}

// image reads a frame, of which only the first is decoded.
func (g *gifReader) image() error {
	var head [9]byte
	if _, err := io.ReadFull(g.in, head[:]); err != nil {
		return err
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(head[at:])) }
	colours, err := g.table(head[8])
	if err != nil {
		return err
	}
	if colours == nil {
		colours = g.colours
	}
	g.pic.Frames++
	width, err := g.in.ReadByte() // of the first codes, in bits
	if err != nil {
		return err
	}
	if g.pic.Frames > 1 {
		return g.skipBlocks()
	}
	if width < 2 || width > 8 {
		return errors.New("codes of a width that GIF does not have")
	}
	frame := gifFrame{left: u16(0), top: u16(2), width: u16(4), height: u16(6), interlaced: head[8]&0x40 != 0}
	blocks := &gifBlocks{in: g.in}
	indices := lzw.NewReader(blocks, lzw.LSB, int(width))
	defer indices.Close()
	canvas := newCanvas(g.in, g.pic.Width, g.pic.Height, frame.interlaced)
	if err := frame.decode(indices, canvas, g.pixels(colours)); err != nil {
		return err
	}
	g.pic.raster = canvas.done()
	g.pic.HasAlpha = g.pic.alpha
	_, err = io.Copy(io.Discard, blocks)
	return err
}

// pixels are the colours as in raster. Those that the table does not have are transparent.
func (g *gifReader) pixels(colours []byte) *[256][4]byte {
	var pixels [256][4]byte
	for i := range len(colours) / 3 {
		if i != g.transparent {
			pixels[i] = [4]byte{colours[3*i], colours[3*i+1], colours[3*i+2], 255}
		}
	}
	return &pixels
}

// gifFrame is where a frame is on the screen.
type gifFrame struct {
	left, top, width, height int
	interlaced               bool
}

func (f gifFrame) decode(indices io.Reader, to *canvas, pixels *[256][4]byte) error {
	row, wide := make([]byte, f.width), make([]byte, 4*f.width)
	seen := max(0, min(f.width, to.fullWidth-f.left)) // what lies beyond the screen is not
	passes := [][2]int{{0, 1}}
	if f.interlaced {
		passes = [][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}} // GIF89a, appendix E
	}
	for _, pass := range passes {
		for y := pass[0]; y < f.height; y += pass[1] {
			if _, err := io.ReadFull(indices, row); err != nil {
				return err
			}
			if f.top+y >= to.fullHeight {
				continue
			}
			for i, index := range row[:seen] {
				copy(wide[4*i:4*i+4], pixels[index][:])
			}
			if err := to.put(f.left, f.top+y, 1, wide[:4*seen]); err != nil {
				return err
			}
		}
	}
	return nil
}

// gifBlocks is what is in sub-blocks, up to the empty one.
type gifBlocks struct {
	in   *source
	left bytes.Reader
	done bool
	b    [255]byte
}

func (g *gifBlocks) fill() error {
	if g.left.Len() > 0 {
		return nil
	}
	if g.done {
		return io.EOF
	}
	size, err := g.in.ReadByte()
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	if size == 0 {
		g.done = true
		return io.EOF
	}
	if _, err := io.ReadFull(g.in, g.b[:size]); err != nil {
		return io.ErrUnexpectedEOF
	}
	g.left.Reset(g.b[:size])
	return nil
}

func (g *gifBlocks) Read(p []byte) (int, error) {
	if err := g.fill(); err != nil {
		return 0, err
	}
	return g.left.Read(p)
}

// ReadByte is what package lzw reads with where it is there.
func (g *gifBlocks) ReadByte() (byte, error) {
	if err := g.fill(); err != nil {
		return 0, err
	}
	return g.left.ReadByte()
}
