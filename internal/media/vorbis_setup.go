package media

import "fmt"

const (
	// maxVorbisTable bounds the numbers in all tables of a setup header: libvorbis' own have some 200,000.
	maxVorbisTable = 1 << 21
	vorbisSync     = 0x564342 // "BCV"
)

// vorbisSetup reads the codebooks and floors of a setup header (Vorbis I, 3.2.1 and 4.2.4)
// before the decoder does, and returns the header for that one. It believes what codebooks
// say: it would fill the memory with tables that take a few bytes to claim, and search for
// ever in a code that is not complete, or in a vector without numbers. And it reads a class
// of a floor that has no partitions, as of low frequencies in 5.1, where none is (7.2.2):
// one is put there.
func vorbisSetup(packet []byte) ([]byte, error) {
	if len(packet) < 8 || packet[0] != 5 {
		return nil, fmt.Errorf("%w: no setup header of Vorbis", ErrDamaged)
	}
	r := &lsbBits{data: packet[7:]}
	total := 0
	for range r.read(8) + 1 {
		size, err := checkCodebook(r)
		if err != nil {
			return nil, err
		}
		if total += size; total > maxVorbisTable {
			return nil, fmt.Errorf("%w: codebooks of Vorbis", ErrTooLarge)
		}
	}
	r.skip(16 * (r.read(6) + 1)) // time domain transforms
	var bare []int               // where classes are missing, bits
	for range r.read(6) + 1 {
		if kind := r.read(16); kind == 0 {
			return nil, fmt.Errorf("%w: Vorbis with floor 0", ErrUnsupported) // of 2000; no encoder writes it since
		}
		if at := skipFloor(r); at > 0 {
			bare = append(bare, at)
		}
		if err := r.err(); err != nil {
			return nil, err
		}
	}
	return append(packet[:7:7], insertZeros(packet[7:], bare, floorClass)...), nil
}

// floorClass is how many bits a class of a floor takes that has one dimension and no book: all are 0.
const floorClass = 3 + 2 + 8

// skipFloor passes a floor 1 (7.2.2). It returns where its classes would be if it has no
// partitions, and else 0.
func skipFloor(r *lsbBits) (bare int) {
	partitions := make([]int, r.read(5))
	classes := 0
	for i := range partitions {
		partitions[i] = r.read(4)
		classes = max(classes, partitions[i]+1)
	}
	if classes == 0 {
		bare = r.at
	}
	var dimensions [16]int
	for i := range classes {
		dimensions[i] = r.read(3) + 1
		subclasses := r.read(2)
		if subclasses > 0 {
			r.skip(8) // master book
		}
		r.skip(8 << subclasses)
	}
	r.skip(2)
	bits := r.read(4)
	for _, class := range partitions {
		r.skip(bits * dimensions[class])
	}
	return bare
}

// insertZeros is b with so many bits that are 0 at each of some places, which are in order.
func insertZeros(b []byte, places []int, count int) []byte {
	longer := make([]byte, len(b)+(len(places)*count+7)/8)
	passed := 0
	for i := range 8 * len(b) {
		for passed < len(places) && places[passed] <= i {
			passed++
		}
		to := i + passed*count
		longer[to/8] |= b[i/8] >> (i % 8) & 1 << (to % 8)
	}
	return longer
}

// checkCodebook returns how many numbers a codebook's tables take.
func checkCodebook(r *lsbBits) (size int, err error) {
	if r.read(24) != vorbisSync {
		return 0, fmt.Errorf("%w: no codebook of Vorbis", ErrDamaged)
	}
	dimensions, entries := r.read(16), r.read(24)
	if dimensions == 0 || entries == 0 || entries > maxVorbisTable {
		return 0, fmt.Errorf("%w: a codebook of %d entries of %d numbers", ErrDamaged, entries, dimensions)
	}
	if err := checkCode(r, entries); err != nil {
		return 0, err
	}
	size = 4 * entries
	kind := r.read(4)
	if kind == 0 {
		return size, r.err()
	}
	if entries*dimensions > maxVorbisTable {
		return 0, fmt.Errorf("%w: codebooks of Vorbis", ErrTooLarge)
	}
	size += entries * dimensions
	r.skip(64)
	bits, values := r.read(4)+1, entries*dimensions
	r.skip(1)
	if kind == 1 {
		values = 0 // the greatest whose power of dimensions is at most entries
		for power(values+1, dimensions, entries) <= entries {
			values++
		}
	} else {
		size += values
	}
	r.skip(bits * values)
	return size, r.err()
}

// checkCode reads the lengths of a codebook's words, and refuses a code that has holes or
// too many words. One with a single word is a case of its own.
func checkCode(r *lsbBits, entries int) error {
	var used, kraft int // words; their shares of 2³²
	put := func(length, n int) { used, kraft = used+n, kraft+n<<(32-length) }
	if ordered := r.read(1) == 1; ordered {
		at := 0
		for length := r.read(5) + 1; at < entries; length++ {
			n := r.read(bitLength(entries - at))
			if length > 32 || n > entries-at || r.err() != nil {
				return fmt.Errorf("%w: a codebook of Vorbis without end", ErrDamaged)
			}
			put(length, n)
			at += n
		}
	} else {
		sparse := r.read(1) == 1
		for range entries {
			if !sparse || r.read(1) == 1 {
				put(r.read(5)+1, 1)
			}
			if r.err() != nil {
				return r.err()
			}
		}
	}
	if used == 0 || used > 1 && kraft != 1<<32 {
		return fmt.Errorf("%w: a codebook of Vorbis is no complete code", ErrDamaged)
	}
	return nil
}

// power is base to the exponent, or a number above limit if that is.
func power(base, exponent, limit int) int {
	result := 1
	for range exponent {
		if result *= base; result > limit || base == 1 {
			break
		}
	}
	return result
}

func bitLength(n int) (bits int) {
	for ; n > 0; n >>= 1 {
		bits++
	}
	return bits
}

// lsbBits reads bits, the lowest of a byte first, and zeros past the end.
type lsbBits struct {
	data []byte
	at   int // bits
}

func (r *lsbBits) read(n int) (value int) {
	for i := range n {
		if at := r.at + i; at>>3 < len(r.data) {
			value |= int(r.data[at>>3]>>(at&7)&1) << i
		}
	}
	r.at += n
	return value
}

func (r *lsbBits) skip(n int) { r.at += n }

func (r *lsbBits) err() error {
	if r.at > 8*len(r.data) {
		return fmt.Errorf("%w: a header of Vorbis is cut off", ErrDamaged)
	}
	return nil
}
