package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/assetplatform/assetplatform/internal/media"
)

// isFourCC tells whether a chunk or box can have this name.
func isFourCC(name string) bool {
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// riffChunk reads the head of a chunk of a RIFF file.
func riffChunk(in *pieces) (id string, size int64, err error) {
	head, err := in.next(8)
	if err != nil {
		return "", 0, err
	}
	id, size = string(head[:4]), int64(binary.LittleEndian.Uint32(head[4:]))
	if !isFourCC(id) && id[:3] != id3v1 {
		return "", 0, damaged("has no chunk where one should begin, at byte %d", in.offset-8)
	}
	return id, size, nil
}

// id3v1 is how the tag of 128 bytes begins that some programs put behind any sound.
const id3v1 = "TAG"

// unknownSize tells whether a size in a WAV file was written before the program knew it,
// into a pipe: FFmpeg writes 0xffffffff there, ALSA 0x80000000, SoX 0x7ffff000, others 0.
func unknownSize(size int64) bool { return size == 0 || size >= 0x7ffff000 }

// walkWAV follows the chunks up to the end of the file (Microsoft's Multimedia
// Programming Interface 1.0, chapter 3). The size in the RIFF header only tells that
// something is missing: many programs get it wrong by the header's own 8 bytes.
func walkWAV(in *pieces) error {
	head, err := in.next(12)
	if err != nil {
		return err
	}
	stated := int64(binary.LittleEndian.Uint32(head[4:]))
	format, sound := false, false
	for in.more() {
		if sound && in.piece[0] == 0 {
			if in.padding() {
				return errBehind
			}
			break
		}
		id, size, err := riffChunk(in)
		if err != nil {
			return err
		}
		switch {
		case id == "fmt ":
			format = true
		case sound && id[:3] == id3v1:
			size = 128 - 8
		case id == "data":
			sound = true
			if unknownSize(size) && unknownSize(stated) {
				size = 0
				in.rest(func([]byte) {})
			}
		}
		if err := in.skip(size); err != nil {
			return err
		}
		if size%2 == 1 && in.more() {
			in.pass(1)
		}
	}
	if !format || !sound || !unknownSize(stated) && stated > in.offset {
		return errCutOff
	}
	return nil
}

// Flags of an Ogg page.
const (
	oggFirstPage = 2
	oggLastPage  = 4
)

// walkOgg follows the pages up to the last one of a stream (RFC 3533, 6), and through
// streams that are chained behind it. The pages' checksums are left alone: they find no
// cut, and cost more than all else here.
func walkOgg(in *pieces) error {
	for first := true; ; first = false {
		head, err := in.next(27)
		if err != nil {
			return err
		}
		flags, segments := head[5], int(head[26])
		if first && flags&oggFirstPage == 0 {
			return errAlien
		}
		if string(head[:5]) != "OggS\x00" {
			return damaged("has no page where one should begin, at byte %d", in.offset-27)
		}
		table, err := in.next(segments)
		if err != nil {
			return err
		}
		var length int64
		for _, lacing := range table {
			length += int64(lacing)
		}
		if flags&oggFirstPage != 0 {
			if err := checkOggStream(in, length); err != nil {
				return err
			}
			length -= 8
		}
		if err := in.skip(length); err != nil {
			return err
		}
		if flags&oggLastPage != 0 && !in.padding() {
			return nil
		}
	}
}

// checkOggStream reads the 8 bytes that tell what a stream is: Vorbis, Opus, Speex or
// FLAC, or a skeleton that describes the others.
func checkOggStream(in *pieces, length int64) error {
	if length < 8 {
		return errAlien
	}
	head, err := in.next(8)
	if err != nil {
		return err
	}
	for _, known := range []string{"\x01vorbis", "OpusHead", "Speex   ", "\x7fFLAC", "fishead\x00"} {
		if strings.HasPrefix(string(head), known) {
			return nil
		}
	}
	return errNotSound
}

// errNotSound means that a file that could hold sound alone holds something else.
var errNotSound = invalidFileType("holds a video, or something else that is no sound: send its sound alone")

// walkFLAC follows the metadata blocks; behind them come frames up to the end (RFC 9639,
// 8 and 9). Frames have no length, but each ends with a CRC that makes the CRC over all
// of it zero: so is that over any number of whole frames. Of 65536 cuts at random, one
// is not noticed; nor is one exactly between two frames.
func walkFLAC(in *pieces) error {
	start, err := in.next(4)
	if err == nil && string(start[:3]) == "ID3" {
		if err = passID3(in); err == nil {
			start, err = in.next(4)
		}
	}
	if err != nil {
		return err
	}
	if string(start) != "fLaC" {
		return errAlien
	}
	for first, last := true, false; !last; first = false {
		head, err := in.next(4)
		if err != nil {
			return err
		}
		word := binary.BigEndian.Uint32(head)
		kind, length := word>>24&0x7f, int64(word&0xffffff)
		if first && (kind != 0 || length != 34) { // STREAMINFO
			return errAlien
		}
		last = word>>31 == 1
		if err := in.skip(length); err != nil {
			return err
		}
	}
	if !in.more() {
		return errCutOff
	}
	var sum uint16
	in.rest(func(part []byte) { sum = flacSum(sum, part) })
	if sum != 0 {
		return damaged("is cut off, or damaged, or followed by something else: the checksum of its frames is wrong")
	}
	return nil
}

// flacTables are those of the CRC of polynomial 0x8005, highest bit first (RFC 9639, 9.3):
// the first one for a byte, each further one for a byte that many zero bytes before. With
// one table alone, the CRC would cost several times what SHA-256 does.
var flacTables = func() (tables [8][256]uint16) {
	for i := range 256 {
		sum := uint16(i) << 8
		for range 8 {
			carry := sum >> 15
			sum = sum<<1 ^ carry*0x8005
		}
		tables[0][i] = sum
	}
	for t := range 7 {
		for i, sum := range tables[t] {
			tables[t+1][i] = sum<<8 ^ tables[0][sum>>8]
		}
	}
	return tables
}()

func flacSum(sum uint16, part []byte) uint16 {
	t := &flacTables
	for len(part) >= 8 {
		sum = t[7][part[0]^byte(sum>>8)] ^ t[6][part[1]^byte(sum)] ^ t[5][part[2]] ^ t[4][part[3]] ^
			t[3][part[4]] ^ t[2][part[5]] ^ t[1][part[6]] ^ t[0][part[7]]
		part = part[8:]
	}
	for _, b := range part {
		sum = sum<<8 ^ t[0][byte(sum>>8)^b]
	}
	return sum
}

// walkM4A follows the boxes up to the end of the file (ISO/IEC 14496-12, 4.2), also
// those within moov that tell what its tracks are. A last box may leave its size open:
// then a cut in it is not noticed.
func walkM4A(in *pieces) error {
	var found m4aContent
	for in.more() {
		kind, left, err := isoBox(in)
		if found.sound && found.media && isPadding(in, kind, err) {
			break // what follows it, judge sees
		}
		if err == nil {
			err = found.pass(in, kind, left)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !found.media || found.end == 0 || in.offset < found.end:
		return errCutOff
	case !found.sound:
		return errNotSound
	}
	return nil
}

// isoBox reads the head of a box; left is -1 if it goes on to the end of the file.
func isoBox(in *pieces) (kind string, left int64, err error) {
	head, err := in.next(8)
	if err != nil {
		return "", 0, err
	}
	size, kind := int64(binary.BigEndian.Uint32(head)), string(head[4:])
	switch size {
	case 0:
		return kind, -1, nil
	case 1: // a larger one follows
		if head, err = in.next(8); err != nil {
			return "", 0, err
		}
		size = int64(binary.BigEndian.Uint64(head)) - 8
	}
	if size < 8 {
		return "", 0, damaged("has a %s box without its size, before byte %d", kind, in.offset)
	}
	return kind, size - 8, nil
}

// isPadding tells whether zeros were there in place of a box: at least 4, for a box that
// is cut off may begin with fewer.
func isPadding(in *pieces, kind string, err error) bool {
	return kind == "\x00\x00\x00\x00" || errors.Is(err, errCutOff) && len(in.short) >= 4 && len(bytes.Trim(in.short, "\x00")) == 0
}

// m4aContent is what the boxes told so far.
type m4aContent struct {
	sound, media bool
	end          int64 // of moov
}

// pass passes a box, or the head of one that holds tracks.
func (c *m4aContent) pass(in *pieces, kind string, left int64) error {
	switch {
	case !isFourCC(kind):
		return damaged("has no box where one should begin, at byte %d", in.offset-8)
	case left < 0 && kind != "mdat":
		return errBehind
	}
	switch kind {
	case "moov", "trak", "mdia":
		c.end = max(c.end, in.offset+left)
		return nil
	case "mdat":
		c.media = true
	case "hdlr": // of a track
		handler, err := in.next(12)
		if err != nil {
			return err
		}
		if string(handler[8:]) == "vide" {
			return errNotSound
		}
		c.sound = c.sound || string(handler[8:]) == "soun"
		if left -= 12; left < 0 {
			return damaged("has a %s box of only %d bytes", kind, left+12)
		}
	}
	if left < 0 {
		in.rest(func([]byte) {})
		return nil
	}
	return in.skip(left)
}

// walkMP3 follows the frames, whose headers give their lengths, and the tags before and
// between them. Behind at least two frames it takes what is no frame for a tag, of which
// there are many kinds, without a length some of them, and looks no further: so a cut in
// a tag is not noticed, nor one exactly between two frames.
func walkMP3(in *pieces) error {
	for frames := 0; ; {
		if frames > 0 && !in.more() {
			return nil
		}
		head, err := in.next(4)
		if err != nil {
			if frames >= 2 && in.short[0] != 0xff { // some stray bytes, and not the begin of a frame
				return nil
			}
			return err
		}
		length := int64(media.MP3FrameLength(head))
		switch {
		case length > 0:
			frames++
			err = in.skip(length - 4)
		case string(head[:3]) == "ID3":
			err = passID3(in)
		case string(head[:3]) == id3v1:
			err = in.skip(128 - 4)
		case frames == 0 && string(head) == "fLaC":
			return invalidFileType("is FLAC behind a tag of MP3: name it .flac, or remove the tag")
		case frames < 2:
			return errAlien
		default:
			in.rest(func([]byte) {})
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// passID3 passes an ID3v2 tag behind its first four bytes, and the padding that some
// programs leave between it and the first frame (id3.org, ID3v2.4.0, 3.1).
func passID3(in *pieces) error {
	head, err := in.next(6)
	if err != nil {
		return err
	}
	var length int64
	for _, b := range head[2:] {
		length = length<<7 | int64(b&0x7f)
	}
	if head[1]&0x10 != 0 {
		length += 10 // a footer
	}
	if err := in.skip(length); err != nil {
		return err
	}
	in.padding()
	return nil
}
