package media

import (
	"encoding/binary"
	"math"
)

// Pixels between the two passes of resize are in steps of 1/64, weights in those of 1/16384.
const (
	pixelShift  = 6
	weightShift = 14
)

// taps are the pixels that one pixel of the smaller picture is made of.
type taps struct {
	first   int
	weights []int64 // their sum is 1 << weightShift
}

// lanczos is the kernel of Lanczos with three lobes, of which resize makes its weights.
func lanczos(x float64) float64 {
	switch x = math.Abs(x) * math.Pi; {
	case x < 1e-9:
		return 1
	case x >= 3*math.Pi:
		return 0
	default:
		return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
	}
}

// makeTaps is for n pixels that are made of span of have ones.
func makeTaps(n, have int, span float64) []taps {
	scale := span / float64(n)
	reach := 3 * max(scale, 1)
	all := make([]taps, n)
	for i := range all {
		center := (float64(i) + 0.5) * scale
		first := max(0, int(math.Ceil(center-reach-0.5)))
		last := min(have-1, int(math.Floor(center+reach-0.5)))
		exact, sum := make([]float64, last-first+1), 0.0
		for j := range exact {
			exact[j] = lanczos((float64(first+j) + 0.5 - center) / max(scale, 1))
			sum += exact[j]
		}
		weights, left, heaviest := make([]int64, len(exact)), int64(1<<weightShift), 0
		for j, weight := range exact {
			weights[j] = int64(math.Round(weight / sum * (1 << weightShift)))
			left -= weights[j]
			if weights[j] > weights[heaviest] {
				heaviest = j
			}
		}
		weights[heaviest] += left
		all[i] = taps{first, weights}
	}
	return all
}

// pairs is a row in steps of 1/64, its colours multiplied by alpha. Each number is two
// values, the first + the second << 32, of which either may be negative: what is added and
// multiplied is both at once.
type pairs struct{ redGreen, blueAlpha []int64 }

func newPairs(n int) pairs { return pairs{make([]int64, n), make([]int64, n)} }

// apart are the two values.
func apart(pair int64) (first, second int64) {
	first = int64(int32(pair))
	return first, (pair - first) >> 32
}

// resize makes the picture smaller. Colours are weighed by alpha: otherwise those of what
// cannot be seen would make fringes along edges.
func (r *raster) resize(in *source, width, height int) (raster, error) {
	across, down := makeTaps(width, r.width, r.spanX), makeTaps(height, r.height, r.spanY)
	made := raster{width: width, height: height, alpha: r.alpha, spanX: float64(width), spanY: float64(height)}
	made.pix = make([]byte, 4*width*height)
	// Rows that were made narrower, as far as they are needed yet: a ring.
	deepest := 0
	for _, t := range down {
		deepest = max(deepest, len(t.weights))
	}
	rows := make([]pairs, deepest)
	for i := range rows {
		rows[i] = newPairs(width)
	}
	sums, wide := newPairs(width), newPairs(r.width)
	ready := 0
	for y, t := range down {
		for ; ready < t.first+len(t.weights); ready++ {
			if ready%64 == 0 {
				if err := in.alive(); err != nil {
					return raster{}, err
				}
			}
			row := r.pix[4*r.width*ready:][:4*r.width]
			if r.alpha {
				wide.multiply(row)
			} else {
				wide.widen(row)
			}
			narrow(rows[ready%deepest], wide, across)
		}
		clear(sums.redGreen)
		clear(sums.blueAlpha)
		for i := 0; i < len(t.weights); i += 2 {
			one, weight := rows[(t.first+i)%deepest], t.weights[i]
			two, weight2 := one, int64(0)
			if i+1 < len(t.weights) {
				two, weight2 = rows[(t.first+i+1)%deepest], t.weights[i+1]
			}
			addRows(sums.redGreen, one.redGreen, two.redGreen, weight, weight2)
			addRows(sums.blueAlpha, one.blueAlpha, two.blueAlpha, weight, weight2)
		}
		sums.pixels(made.pix[4*width*y:][:4*width], r.alpha)
	}
	return made, nil
}

// widen is for rows without alpha.
func (p pairs) widen(row []byte) {
	redGreen, blueAlpha := p.redGreen, p.blueAlpha[:len(p.redGreen)]
	for i := range redGreen {
		pixel := int64(binary.LittleEndian.Uint32(row[4*i:]))
		redGreen[i] = (pixel&0xff | pixel&0xff00<<24) << pixelShift
		blueAlpha[i] = (pixel>>16&0xff | 255<<32) << pixelShift
	}
}

// multiply is for rows with alpha.
func (p pairs) multiply(row []byte) {
	for i := range p.redGreen {
		pixel := row[4*i:][:4]
		a := int64(pixel[3])
		times := func(v byte) int64 { return (int64(v)*a<<pixelShift + 127) / 255 }
		p.redGreen[i] = times(pixel[0]) + times(pixel[1])<<32
		p.blueAlpha[i] = times(pixel[2]) + a<<(pixelShift+32)
	}
}

// narrow resizes a row.
func narrow(to, from pairs, across []taps) {
	const half = 1<<(weightShift-1) + 1<<(weightShift-1+32)
	for x, t := range across {
		weights := t.weights
		redGreen, blueAlpha := from.redGreen[t.first:][:len(weights)], from.blueAlpha[t.first:][:len(weights)]
		sum, sum2 := int64(half), int64(half)
		for i, weight := range weights {
			sum += weight * redGreen[i]
			sum2 += weight * blueAlpha[i]
		}
		r, g := apart(sum)
		b, a := apart(sum2)
		to.redGreen[x] = r>>weightShift + g>>weightShift<<32
		to.blueAlpha[x] = b>>weightShift + a>>weightShift<<32
	}
}

// addRows adds two rows.
func addRows(sums, one, two []int64, weight, weight2 int64) {
	one, two = one[:len(sums)], two[:len(sums)]
	for i := range sums {
		sums[i] += weight*one[i] + weight2*two[i]
	}
}

// pixels are what sums of rows are in 8 bits.
func (p pairs) pixels(to []byte, alpha bool) {
	const shift = weightShift + pixelShift
	level := func(sum int64) byte { return byte(max(0, min(255, (sum+1<<(shift-1))>>shift))) }
	for i := range p.redGreen {
		r, g := apart(p.redGreen[i])
		b, a := apart(p.blueAlpha[i])
		pixel := to[4*i:][:4]
		if !alpha {
			pixel[0], pixel[1], pixel[2], pixel[3] = level(r), level(g), level(b), 255
			continue
		}
		if pixel[3] = level(a); pixel[3] == 0 {
			pixel[0], pixel[1], pixel[2] = 0, 0, 0
			continue
		}
		divided := func(sum int64) byte { return byte(max(0, min(255, (sum*255+a/2)/a))) }
		pixel[0], pixel[1], pixel[2] = divided(r), divided(g), divided(b)
	}
}
