package media

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	// paletteSize is how many colours are told of a picture at most.
	paletteSize = 8
	// paletteSide bounds how many pixels are looked at for them: one of each cell of a grid of
	// so many each way. They are points, not means, since those along an edge have colours that the picture does not.
	paletteSide = 128
	// paletteNear is the distance in RGB, squared, within which colours are one.
	paletteNear = 40 * 40
)

// hue is some pixels of nearly one colour.
type hue struct {
	colour  uint32 // 0xrrggbb, the one that most of them have
	best    int    // how many those are
	count   int    // of all
	r, g, b int    // sums
}

// palette is the colours of most of the pixels that are more opaque than not. Where these
// are little of what is seen, as of glass and smoke, it is of less opaque ones too.
func palette(r *raster, toSRGB *transform) []string {
	samples := r.samples()
	total := alphaOf(samples, 1)
	least := 128 // alpha
	for ; least > 1 && 2*alphaOf(samples, least) < total; least /= 2 {
	}
	var colours []hue
	var seen []uint32
	for _, p := range samples {
		if int(p>>24) >= least {
			seen = append(seen, p&0xffffff)
		}
	}
	slices.Sort(seen)
	for len(seen) > 0 {
		n := 1
		for n < len(seen) && seen[n] == seen[0] {
			n++
		}
		c := seen[0]
		colours = append(colours, hue{c, n, n, n * int(c>>16), n * int(c>>8&255), n * int(c&255)})
		seen = seen[n:]
	}
	if len(colours) > paletteSize {
		colours = merge(binned(colours))
	}
	slices.SortStableFunc(colours, func(a, b hue) int { return cmp.Compare(b.count, a.count) })
	names := make([]string, 0, paletteSize)
	for _, h := range colours[:min(len(colours), paletteSize)] {
		pixel := h.pixel()
		toSRGB.apply(pixel[:])
		names = append(names, fmt.Sprintf("#%02x%02x%02x", pixel[0], pixel[1], pixel[2]))
	}
	return names
}

// samples are pixels from all over the picture, 0xaarrggbb. Each lies anywhere in its cell,
// or a pattern as fine as the grid would show one of its colours alone; the same in each
// picture of that size.
func (r *raster) samples() []uint32 {
	stepX, stepY := (r.width+paletteSide-1)/paletteSide, (r.height+paletteSide-1)/paletteSide
	samples := make([]uint32, 0, paletteSide*paletteSide)
	for y := 0; y < r.height; y += stepY {
		for x := 0; x < r.width; x += stepX {
			h := scattered(uint32(y)<<16 | uint32(x))
			atX := x + int(h&0xffff)*min(stepX, r.width-x)>>16
			atY := y + int(h>>16)*min(stepY, r.height-y)>>16
			p := r.pix[4*(atY*r.width+atX):][:4]
			samples = append(samples, uint32(p[3])<<24|uint32(p[0])<<16|uint32(p[1])<<8|uint32(p[2]))
		}
	}
	return samples
}

// alphaOf is the sum of alpha of those that have at least so much.
func alphaOf(samples []uint32, least int) (sum int) {
	for _, p := range samples {
		if alpha := int(p >> 24); alpha >= least {
			sum += alpha
		}
	}
	return sum
}

// scattered is a number in which each bit of n changes half of the bits (the last step of MurmurHash3, of the public domain).
func scattered(n uint32) uint32 {
	n = (n ^ n>>16) * 0x85ebca6b
	n = (n ^ n>>13) * 0xc2b2ae35
	return n ^ n>>16
}

// add puts other's pixels to these.
func (h *hue) add(other hue) {
	if other.best > h.best {
		h.best, h.colour = other.best, other.colour
	}
	h.count += other.count
	h.r, h.g, h.b = h.r+other.r, h.g+other.g, h.b+other.b
}

// binned puts colours together whose channels agree in 5 bits, so that merge has fewer of
// them to compare.
func binned(colours []hue) []hue {
	at := make(map[uint32]int)
	var bins []hue
	for _, h := range colours {
		key := h.colour & 0xf8f8f8
		i, ok := at[key]
		if !ok {
			i = len(bins)
			at[key] = i
			bins = append(bins, hue{})
		}
		bins[i].add(h)
	}
	return bins
}

// merge puts each to the most frequent one that is near.
func merge(colours []hue) []hue {
	slices.SortStableFunc(colours, func(a, b hue) int { return cmp.Compare(b.count, a.count) })
	var merged, centers []hue
next:
	for _, h := range colours {
		for i := range centers {
			if distance(h.colour, centers[i].colour) < paletteNear {
				merged[i].add(h)
				continue next
			}
		}
		merged, centers = append(merged, h), append(centers, h)
	}
	return merged
}

func distance(a, b uint32) int {
	r, g, bl := int(a>>16)-int(b>>16), int(a>>8&255)-int(b>>8&255), int(a&255)-int(b&255)
	return r*r + g*g + bl*bl
}

// pixel is the colour that most of the pixels have if those are a fourth at least, as in
// what was drawn, and else the mean, as of a photograph.
func (h *hue) pixel() [4]byte {
	if 4*h.best >= h.count {
		return [4]byte{byte(h.colour >> 16), byte(h.colour >> 8), byte(h.colour), 255}
	}
	half := h.count / 2
	return [4]byte{byte((h.r + half) / h.count), byte((h.g + half) / h.count), byte((h.b + half) / h.count), 255}
}
