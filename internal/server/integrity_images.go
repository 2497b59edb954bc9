package server

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// walkPNG follows the chunks, each with a checksum, up to IEND (PNG, third edition, 5.2 and 5.3).
func walkPNG(in *pieces) error {
	if err := in.skip(8); err != nil { // the signature
		return err
	}
	for picture, first := false, true; ; first = false {
		head, err := in.next(8)
		if err != nil {
			return err
		}
		length, kind := binary.BigEndian.Uint32(head), string(head[4:])
		sum := crc32.ChecksumIEEE(head[4:])
		switch {
		case first && (kind != "IHDR" || length != 13):
			return errAlien
		case length > math.MaxInt32 || !isFourCC(kind):
			return damaged("has no chunk where one should begin, at byte %d", in.offset-8)
		}
		var width, height uint32
		if first {
			if head, err = in.next(8); err != nil {
				return err
			}
			width, height = binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
			sum = crc32.Update(sum, crc32.IEEETable, head)
			length -= 8
		}
		err = in.each(int64(length), func(part []byte) { sum = crc32.Update(sum, crc32.IEEETable, part) })
		if err != nil {
			return err
		}
		checksum, err := in.next(4)
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint32(checksum) != sum {
			return damaged("has an %s chunk whose checksum is wrong, before byte %d", kind, in.offset)
		}
		switch kind {
		case "IHDR":
			if err := checkPixels(width, height); err != nil {
				return err
			}
		case "IDAT":
			picture = true
		case "IEND":
			if !picture {
				return damaged("holds no picture")
			}
			return nil
		}
	}
}

// Markers of JPEG, the byte behind 0xff (ITU-T T.81, table B.1).
const (
	jpegTEM  = 0x01
	jpegSOF0 = 0xc0 // up to SOF15, but for three
	jpegDHT  = 0xc4
	jpegJPG  = 0xc8
	jpegDAC  = 0xcc
	jpegRST0 = 0xd0 // up to RST7
	jpegSOI  = 0xd8
	jpegEOI  = 0xd9
	jpegSOS  = 0xda
)

// walkJPEG follows the pictures of a file. Behind the end of the first one, cameras and
// phones put more of them: previews and gain maps (CIPA DC-007, Ultra HDR). These are
// followed in the same way. The video of a motion photo and the notes that Samsung's
// phones append are refused like everything else there: one cannot tell them from what
// somebody hid.
func walkJPEG(in *pieces) error {
	for first := true; first || in.padding(); first = false {
		start, err := in.next(2)
		if err != nil {
			return err
		}
		if start[0] != 0xff || start[1] != jpegSOI {
			return errBehind
		}
		if err := walkJPEGPicture(in); err != nil {
			return err
		}
	}
	return nil
}

// walkJPEGPicture follows the segments from behind SOI to EOI, and through the scans between them.
func walkJPEGPicture(in *pieces) error {
	framed, scanned, scan := false, false, false
	for {
		marker, err := jpegMarker(in, scan)
		switch {
		case err != nil:
			return err
		case marker == jpegEOI:
			if !framed || !scanned {
				return damaged("holds no picture")
			}
			return nil
		case marker == jpegTEM, marker >= jpegRST0 && marker < jpegSOI:
			continue // has no segment
		case marker < jpegSOF0 || marker == jpegSOI:
			if !framed {
				return errAlien
			}
			return damaged("has no segment where one should begin, before byte %d", in.offset)
		}
		size, err := in.next(2)
		if err != nil {
			return err
		}
		length := int64(binary.BigEndian.Uint16(size)) - 2
		if isSOF(marker) {
			frame, err := in.next(5) // precision, height, width
			if err != nil {
				return err
			}
			if err := checkPixels(uint32(binary.BigEndian.Uint16(frame[3:])), uint32(binary.BigEndian.Uint16(frame[1:]))); err != nil {
				return err
			}
			framed, length = true, length-5
		}
		if length < 0 {
			return damaged("has a segment without its length, before byte %d", in.offset)
		}
		if err := in.skip(length); err != nil {
			return err
		}
		scan = marker == jpegSOS
		scanned = scanned || scan
	}
}

func isSOF(marker byte) bool {
	return marker >= jpegSOF0 && marker < jpegRST0 && marker != jpegDHT && marker != jpegJPG && marker != jpegDAC
}

// jpegMarker returns the next marker, or 0 if something else comes. In a scan it passes
// the data before the marker, where 0xff is written as 0xff 0x00 and RST divides.
func jpegMarker(in *pieces, scan bool) (marker byte, err error) {
	for {
		if scan {
			err = in.seek(0xff)
		} else if marker, err = in.one(); err == nil && marker != 0xff {
			return 0, nil
		}
		for marker = 0xff; err == nil && marker == 0xff; { // it may be written more than once
			marker, err = in.one()
		}
		if err != nil || !scan || marker != 0 && (marker < jpegRST0 || marker >= jpegSOI) {
			return marker, err
		}
	}
}

// walkGIF follows the blocks up to the trailer (GIF89a, 18 to 27).
func walkGIF(in *pieces) error {
	screen, err := in.next(13)
	if err != nil {
		return err
	}
	width, height, flags := binary.LittleEndian.Uint16(screen[6:]), binary.LittleEndian.Uint16(screen[8:]), screen[10]
	if err := checkPixels(uint32(width), uint32(height)); err != nil {
		return err
	}
	if err := in.skip(gifColors(flags)); err != nil {
		return err
	}
	for pictures, first := 0, true; ; first = false {
		block, err := in.one()
		if err != nil {
			return err
		}
		switch {
		case block == '!': // an extension: its label
			err = in.skip(1)
		case block == ',':
			pictures++
			err = passGIFImage(in)
		case block == ';' && pictures > 0:
			return nil
		case block == ';':
			return damaged("holds no picture")
		case first:
			return errAlien
		default:
			return damaged("has no block where one should begin, at byte %d", in.offset-1)
		}
		for size := byte(1); err == nil && size > 0; { // sub-blocks, the last one empty
			if size, err = in.one(); err == nil {
				err = in.skip(int64(size))
			}
		}
		if err != nil {
			return err
		}
	}
}

// passGIFImage passes an image up to its sub-blocks.
func passGIFImage(in *pieces) error {
	image, err := in.next(9)
	if err != nil {
		return err
	}
	width, height, flags := binary.LittleEndian.Uint16(image[4:]), binary.LittleEndian.Uint16(image[6:]), image[8]
	if err := checkPixels(uint32(width), uint32(height)); err != nil {
		return err
	}
	return in.skip(gifColors(flags) + 1) // and the size of LZW's first codes
}

// gifColors is the size of the color table that flags announce, bytes.
func gifColors(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

// walkWebP follows the chunks up to the end that the RIFF header states (RFC 9649, 2.3 to 2.7).
func walkWebP(in *pieces) error {
	head, err := in.next(12)
	if err != nil {
		return err
	}
	end := 8 + int64(binary.LittleEndian.Uint32(head[4:]))
	picture := false
	for first := true; first || in.offset < end; first = false {
		id, size, err := riffChunk(in)
		if err != nil {
			return err
		}
		if first && id != "VP8 " && id != "VP8L" && id != "VP8X" {
			return errAlien
		}
		if in.offset+size > end {
			return damaged("has a %s chunk of %d bytes, which do not fit into the %d that its header states", id, size, end)
		}
		picture = picture || id == "VP8 " || id == "VP8L" || id == "ANMF"
		read, err := checkWebPPixels(in, id, size)
		if err != nil {
			return err
		}
		if err := in.skip(size - read); err != nil {
			return err
		}
		if size%2 == 1 && in.offset < end { // some programs leave out the last padding
			if err := in.skip(1); err != nil {
				return err
			}
		}
	}
	if !picture {
		return damaged("holds no picture")
	}
	return nil
}

// checkWebPPixels judges the size of the picture if the chunk states one, and returns
// how much of the chunk it has read.
func checkWebPPixels(in *pieces, id string, size int64) (read int64, err error) {
	length := map[string]int64{"VP8 ": 10, "VP8L": 5, "VP8X": 10}[id]
	if length == 0 {
		return 0, nil
	}
	if size < length {
		return 0, damaged("has a %s chunk of only %d bytes", id, size)
	}
	head, err := in.next(int(length))
	if err != nil {
		return 0, err
	}
	var width, height uint32
	switch id {
	case "VP8 ": // RFC 6386, 9.1
		width, height = uint32(binary.LittleEndian.Uint16(head[6:]))&0x3fff, uint32(binary.LittleEndian.Uint16(head[8:]))&0x3fff
	case "VP8L": // RFC 9649, 3.4
		bits := binary.LittleEndian.Uint32(head[1:])
		width, height = bits&0x3fff+1, bits>>14&0x3fff+1
	case "VP8X": // RFC 9649, 2.7
		width, height = binary.LittleEndian.Uint32(head[4:])&0xffffff+1, binary.LittleEndian.Uint32(head[6:])>>8+1
	}
	return length, checkPixels(width, height)
}
