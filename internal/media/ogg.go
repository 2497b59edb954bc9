package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Flags of an Ogg page (RFC 3533, 6).
const (
	oggContinued = 1
	oggFirst     = 2
	oggLast      = 4
)

// maxPacket bounds a packet. Only a comment with pictures may be larger, and of that the
// rest is dropped: nobody reads it. A setup header of Vorbis has some 8 KB.
const maxPacket = 256 << 10

// oggPages reads the packets of one stream after the other. Pages of other streams that
// lie between those of the one that is read are passed over.
type oggPages struct {
	in      *source
	serial  uint32
	open    bool // a stream is being read
	flags   byte
	granule int64 // of the page; -1 if no packet ends in it
	table   [255]byte
	lacing  []byte // what is left of table
	body    int64  // bytes of the page that were not read
	packet  []byte
	dropped bool // the packet was longer than maxPacket
	bytes   int64
}

var errStreamEnd = errors.New("the stream has ended")

// page reads a page's header.
func (o *oggPages) page() error {
	for {
		o.in.skip(o.body)
		o.body = 0
		var head [27]byte
		if _, err := io.ReadFull(o.in, head[:]); err != nil {
			return err
		}
		if string(head[:4]) != "OggS" {
			if strings.Trim(string(head[:]), "\x00") == "" { // padding
				return io.EOF
			}
			return fmt.Errorf("%w: no page at byte %d", ErrDamaged, o.in.position()-27)
		}
		table := o.table[:head[26]]
		if _, err := io.ReadFull(o.in, table); err != nil {
			return err
		}
		for _, lacing := range table {
			o.body += int64(lacing)
		}
		serial := binary.LittleEndian.Uint32(head[14:])
		if !o.open && head[5]&oggFirst != 0 {
			o.serial, o.open = serial, true
		} else if !o.open || serial != o.serial {
			if err := o.in.spend(0); err != nil {
				return err
			}
			continue
		}
		o.flags, o.granule, o.lacing = head[5], int64(binary.LittleEndian.Uint64(head[6:])), table
		o.bytes += o.body + int64(27+len(table))
		return nil
	}
}

// next reads the stream's next packet, which holds until the next call. last tells that
// it is the last one that ends in its page, for which the page's granule position holds.
// errStreamEnd follows a stream's last packet, io.EOF the file's.
func (o *oggPages) next() (packet []byte, last bool, err error) {
	o.packet, o.dropped = o.packet[:0], false
	for {
		for len(o.lacing) == 0 {
			if o.open && o.flags&oggLast != 0 {
				o.open, o.flags = false, 0
				return nil, false, errStreamEnd
			}
			if err := o.page(); err != nil {
				return nil, false, err
			}
			if o.flags&oggContinued == 0 {
				o.packet, o.dropped = o.packet[:0], false // its rest is missing
			}
		}
		n := int(o.lacing[0])
		o.lacing = o.lacing[1:]
		o.body -= int64(n)
		if len(o.packet)+n > maxPacket {
			o.in.skip(int64(n))
			o.dropped = true
		} else {
			have := len(o.packet)
			o.packet = append(o.packet, make([]byte, n)...)
			if _, err := io.ReadFull(o.in, o.packet[have:]); err != nil {
				return nil, false, err
			}
		}
		if n < 255 {
			return o.packet, o.lastEnd(), nil
		}
	}
}

// lastEnd tells whether no further packet ends in this page.
func (o *oggPages) lastEnd() bool {
	for _, n := range o.lacing {
		if n < 255 {
			return false
		}
	}
	return true
}

// oggStream decodes the packets of one stream.
type oggStream interface {
	facts() AudioInfo
	// decode returns the samples of a packet, of all channels in turns; none for a header.
	// They hold until the next call.
	decode(packet []byte) ([]float32, error)
	// skipped is how many frames at the begin are there for the decoder alone.
	skipped() int64
}

// readOgg decodes an Ogg file (RFC 3533) of Vorbis, Opus or FLAC, also of several streams that
// are chained: rate and channels are told of the first, the waveform goes over all.
func readOgg(in *source, info *AudioInfo) error {
	pages := &oggPages{in: in}
	var wave *waveform
	var duration float64 // of the streams that were decoded, seconds
	for {
		packet, _, err := pages.next()
		if errors.Is(err, io.EOF) && wave != nil {
			break
		}
		if errors.Is(err, errStreamEnd) {
			continue
		}
		if err != nil {
			return err
		}
		stream, err := newOggStream(packet)
		if errors.Is(err, errNoSound) { // a description of the others
			pages.open = false
			continue
		}
		if wave != nil { // several are chained: how long they are is known when all are decoded
			info.Duration, info.Bitrate = 0, 0
		} else if stream != nil {
			*info = stream.facts()
			if end, found := lastGranule(in); found { // right unless streams are chained
				info.measure(end-stream.skipped(), in.size)
			}
		}
		if err != nil {
			return err
		}
		if wave == nil {
			wave = newWaveform(info.Channels, int64(info.Duration*float64(info.SampleRate)+0.5))
		}
		frames, err := pages.decode(stream, wave)
		if err != nil {
			return err
		}
		duration += float64(frames) / float64(stream.facts().SampleRate)
	}
	info.Duration, info.Bitrate = duration, 0
	if duration > 0 {
		info.Bitrate = int64(float64(pages.bytes)*8/duration + 0.5)
	}
	info.Waveform = wave.peaks()
	return nil
}

// decode decodes the rest of a stream, and returns of how many frames it is.
func (o *oggPages) decode(stream oggStream, wave *waveform) (frames int64, err error) {
	channels := stream.facts().Channels
	var decoded, first int64 // frames; the granule position at which the stream begins
	started := false
	for {
		packet, last, err := o.next()
		if errors.Is(err, errStreamEnd) {
			return frames, nil
		}
		if err != nil { // also EOF: a stream has a last page
			return 0, fmt.Errorf("%w: the stream is cut off: %w", ErrDamaged, err)
		}
		if err := o.in.spend(0); err != nil {
			return 0, err
		}
		values, err := stream.decode(packet)
		if err != nil {
			return 0, undecoded(err)
		}
		if err := o.in.spend(len(values)); err != nil {
			return 0, err
		}
		n := int64(len(values) / channels)
		end := decoded + n
		if last && o.granule > 0 {
			if !started { // a stream that was recorded from the middle on begins later than 0
				started = true
				if o.flags&oggLast == 0 {
					first = max(o.granule-end, 0)
				}
			}
			if o.flags&oggLast != 0 {
				end = max(min(end, o.granule-first), 0)
			}
		}
		from := max(stream.skipped(), decoded)
		if from < end {
			at := (from - decoded) * int64(channels)
			values = values[at : (end-decoded)*int64(channels)]
			if channels == wave.channels {
				addFrames(wave, values, 1)
			} else {
				addMixed(wave, values, channels)
			}
			frames += end - from
		}
		decoded += n
	}
}

// addMixed adds frames of a chained stream that has not as many channels as the first.
func addMixed(w *waveform, values []float32, channels int) {
	mixed := make([]float32, w.channels)
	for ; len(values) >= channels; values = values[channels:] {
		mixed[0] = float32(highest(values[:channels]))
		addFrames(w, mixed, 1)
	}
}

var errNoSound = errors.New("not a stream of sound")

// newOggStream begins a stream by its first packet. With ErrUnsupported it returns one
// that tells facts alone.
func newOggStream(packet []byte) (oggStream, error) {
	head := string(packet)
	switch {
	case strings.HasPrefix(head, "\x01vorbis"):
		return newVorbis(packet)
	case strings.HasPrefix(head, "OpusHead"):
		return newOpus(packet)
	case strings.HasPrefix(head, "fishead\x00"):
		return nil, errNoSound
	case strings.HasPrefix(head, "\x7fFLAC"):
		return newOggFLAC(packet)
	case strings.HasPrefix(head, "Speex   "):
		return nil, fmt.Errorf("%w: Speex in Ogg", ErrUnsupported)
	}
	return nil, fmt.Errorf("%w: an Ogg stream of no kind that is known", ErrDamaged)
}

// lastGranule is the position at the end of the file's last page (its samples, of its last stream).
func lastGranule(in *source) (int64, bool) {
	tail := make([]byte, min(in.size, 66<<10)) // a page has at most 65307 bytes
	if n, err := in.ReadAt(tail, in.size-int64(len(tail))); n < len(tail) && err != nil {
		return 0, false
	}
	at := strings.LastIndex(string(tail), "OggS\x00")
	if at < 0 || at+14 > len(tail) {
		return 0, false
	}
	granule := int64(binary.LittleEndian.Uint64(tail[at+6:]))
	return granule, granule > 0 && granule < 1<<50
}
