package media

import (
	"errors"
	"fmt"
	"slices"
)

var errScan = errors.New("a scan that is not as JPEG has them")

// jpegScan is a scan header (ITU-T T.81, B.2.3): which coefficients of which components
// come, and which bits of these.
type jpegScan struct {
	parts       []*jpegPart
	first, last int
	high, low   int
}

// scan reads the header and what comes behind it.
func (j *jpegReader) scan(content []byte) error {
	s, err := j.scanHeader(content)
	if err != nil {
		return err
	}
	if j.canvas == nil {
		j.begin(j.progressive || len(s.parts) < len(j.parts))
	} else if !j.buffered {
		return errScan // the picture is already complete
	}
	j.bits = bitReader{in: j.in}
	j.restart()
	decode := j.decoder(s)
	if len(s.parts) == 1 {
		err = j.separate(s.parts[0], decode)
	} else {
		err = j.interleaved(s.parts, decode)
	}
	j.bits.release()
	return err
}

func (j *jpegReader) scanHeader(content []byte) (*jpegScan, error) {
	if len(content) < 1 || len(content) != 4+2*int(content[0]) || content[0] < 1 || j.parts == nil {
		return nil, errScan
	}
	count := int(content[0])
	b := content[1+2*count:]
	s := &jpegScan{first: int(b[0]), last: int(b[1]), high: int(b[2] >> 4), low: int(b[2] & 15)}
	if !j.progressive {
		s.first, s.last, s.high, s.low = 0, 63, 0, 0
	}
	if s.first > s.last || s.last > 63 || s.low > 13 || j.progressive && s.first == 0 && s.last > 0 || s.first > 0 && count > 1 {
		return nil, errScan
	}
	for i := range count {
		part, err := j.scanPart(s, int(content[1+2*i]), content[2+2*i])
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, part)
	}
	return s, nil
}

// scanPart finds the component of a number, and the tables that the scan has for it.
func (j *jpegReader) scanPart(s *jpegScan, id int, tables byte) (*jpegPart, error) {
	at := slices.IndexFunc(j.parts, func(p *jpegPart) bool { return p.id == id })
	dc, ac := tables>>4, tables&15
	if at < 0 || dc > 3 || ac > 3 || slices.Contains(s.parts, j.parts[at]) {
		return nil, errScan
	}
	part := j.parts[at]
	part.dc, part.ac = j.huff[0][dc], j.huff[1][ac]
	if part.dc == nil && s.first == 0 && s.high == 0 || part.ac == nil && s.last > 0 || j.quant[part.tq] == nil {
		return nil, fmt.Errorf("%w: a table is not there", errScan)
	}
	if !part.scanned { // later scans do not change how the first was quantized
		for k, place := range part.keep {
			if place < 64 {
				part.scale[place] = j.quant[part.tq][k]
			}
		}
	}
	part.scanned = part.scanned || s.first == 0
	return part, nil
}

// begin makes what holds the picture.
func (j *jpegReader) begin(buffered bool) {
	j.buffered = buffered
	width, height := ceilDiv(j.pic.Width*j.size, 8), ceilDiv(j.pic.Height*j.size, 8)
	j.canvas = newCanvas(j.in, width, height, false)
	j.canvas.spanX = float64(j.pic.Width*j.size) / float64(8*j.canvas.stored)
	j.canvas.spanY = float64(j.pic.Height*j.size) / float64(8*j.canvas.stored)
	j.pixels = make([]byte, 4*width)
	j.colours = j.converter()
	for i, p := range j.parts {
		p.plane = make([]byte, p.stride*p.size*p.v*p.size)
		if p.h*p.size != j.hmax*j.size {
			p.columns = make([]int32, width)
			for x := range p.columns {
				p.columns[x] = int32(x * p.h * p.size / (j.hmax * j.size))
			}
			j.rows[i] = make([]byte, width)
		}
		if blocks := p.stride * j.mcusY * p.v; buffered {
			p.coefficients = make([]int16, blocks*p.size*p.size)
			if j.progressive {
				p.nonzero = make([]uint64, blocks)
			}
		}
	}
}

// restart forgets what blocks before have told.
func (j *jpegReader) restart() {
	j.eobRun = 0
	for _, p := range j.parts {
		p.predicted = 0
	}
}

// between is called after each MCU but the last: where restarts are, it passes one.
func (j *jpegReader) between(mcu int) error {
	if j.interval == 0 || mcu%j.interval != 0 {
		return nil
	}
	if j.bits.overran() {
		return errScan
	}
	j.bits.release()
	marker, err := j.marker()
	if err != nil || marker < jpegRST0 || marker >= jpegSOI {
		return errScan
	}
	j.bits = bitReader{in: j.in}
	j.restart()
	return nil
}

// check is called for each row of blocks, of which there were so many.
func (j *jpegReader) check(blocks int) error {
	if j.visited += int64(blocks); j.visited > maxVisited {
		return fmt.Errorf("%w: a JPEG of too many scans", ErrTooLarge)
	}
	if j.bits.overran() {
		return errScan
	}
	return j.in.alive()
}

// separate decodes a scan of one component, which has no more blocks than it needs (A.2.2).
func (j *jpegReader) separate(p *jpegPart, decode func(*jpegPart, int) error) error {
	mcu := 0
	for y := range p.blocksY {
		for x := range p.blocksX {
			if mcu > 0 {
				if err := j.between(mcu); err != nil {
					return err
				}
			}
			mcu++
			if err := decode(p, y*p.stride+x); err != nil {
				return err
			}
			if !j.buffered {
				j.put(p, x, 0)
			}
		}
		if err := j.check(p.blocksX); err != nil {
			return err
		}
		if !j.buffered {
			if err := j.emit(y); err != nil {
				return err
			}
		}
	}
	return nil
}

// interleaved decodes a scan of several components, whose blocks come in MCUs.
func (j *jpegReader) interleaved(parts []*jpegPart, decode func(*jpegPart, int) error) error {
	for y := range j.mcusY {
		blocks := 0
		for x := range j.mcusX {
			if mcu := y*j.mcusX + x; mcu > 0 {
				if err := j.between(mcu); err != nil {
					return err
				}
			}
			for _, p := range parts {
				for i := range p.h * p.v {
					column, row := x*p.h+i%p.h, i/p.h
					if err := decode(p, (y*p.v+row)*p.stride+column); err != nil {
						return err
					}
					if !j.buffered {
						j.put(p, column, row)
					}
				}
				blocks += p.h * p.v
			}
		}
		if err := j.check(blocks); err != nil {
			return err
		}
		if !j.buffered {
			if err := j.emit(y); err != nil {
				return err
			}
		}
	}
	return nil
}

// decoder returns what decodes a block of the scan, whose index it is given.
func (j *jpegReader) decoder(s *jpegScan) func(p *jpegPart, at int) error {
	switch {
	case !j.progressive && !j.buffered:
		return func(p *jpegPart, _ int) error { return j.bits.block(p, &j.block) }
	case !j.progressive:
		return func(p *jpegPart, at int) error {
			if err := j.bits.block(p, &j.block); err != nil {
				return err
			}
			for i := range p.size * p.size {
				p.coefficients[at*p.size*p.size+i] = int16(j.block[i])
			}
			return nil
		}
	case s.first == 0 && s.high == 0:
		return func(p *jpegPart, at int) error { return j.firstDC(p, at, s) }
	case s.first == 0:
		return func(p *jpegPart, at int) error {
			if j.bits.bit() {
				p.coefficients[at*p.size*p.size] |= 1 << s.low
			}
			return nil
		}
	case s.high == 0:
		return func(p *jpegPart, at int) error { return j.firstAC(p, at, s) }
	}
	return func(p *jpegPart, at int) error { return j.refineAC(p, at, s) }
}

// block decodes a block of a sequential file (ITU-T T.81, F.2.2), those of the
// coefficients that are kept. The bits are held in variables of its own: it is where the
// time goes.
func (b *bitReader) block(p *jpegPart, to *[65]int32) error {
	clear(to[:p.size*p.size])
	if b.count < 32 {
		b.fill()
	}
	length := int(b.symbol(p.dc))
	if length > 15 {
		return errScan
	}
	p.predicted += b.signed(length)
	to[0] = p.predicted
	value, count, table, keep := b.value, b.count, p.ac, p.keep
	for k := 1; k < 64; k++ {
		if count < 32 {
			b.value, b.count = value, count
			b.fill()
			value, count = b.value, b.count
		}
		var symbol int
		if e := table.look[value>>(64-lookBits)]; e != 0 {
			value <<= e >> 8 & 31
			count -= int(e >> 8)
			symbol = int(e & 255)
		} else {
			b.value, b.count = value, count
			symbol = int(b.longSymbol(table))
			value, count = b.value, b.count
		}
		n := symbol & 15
		if n == 0 {
			if symbol != 0xf0 { // the end of the block
				break
			}
			k += 15
			continue
		}
		if k += symbol >> 4; k > 63 {
			return errScan
		}
		v := int32(value >> ((64 - n) & 63))
		value <<= n & 15
		count -= n
		if v < 1<<(n-1) {
			v -= 1<<n - 1
		}
		to[keep[k]&127] = v
	}
	b.value, b.count = value, count
	return nil
}
