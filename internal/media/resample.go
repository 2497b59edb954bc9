package media

import "math"

// Pixels between the two passes of resize are in steps of 1/64, weights in those of 1/16384.
const (
	pixelShift  = 6
	weightShift = 14
)

// taps are the pixels that one pixel of the smaller picture is made of.
type taps struct {
	first   int
	weights []int32 // their sum is 1 << weightShift
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
		weights, left, heaviest := make([]int32, len(exact)), int32(1<<weightShift), 0
		for j, weight := range exact {
			weights[j] = int32(math.Round(weight / sum * (1 << weightShift)))
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
	rows := make([][]int16, deepest)
	for i := range rows {
		rows[i] = make([]int16, 4*width)
	}
	sums, light := make([]int32, 4*width), make([]int16, 4*r.width)
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
				multiply(light, row)
				narrowAlpha(rows[ready%deepest], light, across)
			} else {
				narrow(rows[ready%deepest], row, across)
			}
		}
		clear(sums)
		for i, weight := range t.weights {
			addRow(sums, rows[(t.first+i)%deepest], weight)
		}
		to := made.pix[4*width*y:][:4*width]
		if r.alpha {
			divide(to, sums)
		} else {
			finish(to, sums)
		}
	}
	return made, nil
}

// multiply makes steps of 1/64 of a row, its colours multiplied by alpha.
func multiply(to []int16, row []byte) {
	for i := 0; i+3 < len(row) && i+3 < len(to); i += 4 {
		a := int32(row[i+3])
		to[i] = int16((int32(row[i])*a<<pixelShift + 127) / 255)
		to[i+1] = int16((int32(row[i+1])*a<<pixelShift + 127) / 255)
		to[i+2] = int16((int32(row[i+2])*a<<pixelShift + 127) / 255)
		to[i+3] = int16(a << pixelShift)
	}
}

// narrowAlpha resizes a row that multiply made.
func narrowAlpha(to, row []int16, across []taps) {
	for x, t := range across {
		from := row[4*t.first:][:4*len(t.weights)]
		var r, g, b, a int32
		for _, weight := range t.weights {
			r += weight * int32(from[0])
			g += weight * int32(from[1])
			b += weight * int32(from[2])
			a += weight * int32(from[3])
			from = from[4:]
		}
		pixel := to[4*x:][:4]
		pixel[0], pixel[1], pixel[2], pixel[3] = rounded(r), rounded(g), rounded(b), rounded(a)
	}
}

func rounded(sum int32) int16 { return int16((sum + 1<<(weightShift-1)) >> weightShift) }

// narrow resizes a row of opaque pixels.
func narrow(to []int16, row []byte, across []taps) {
	const shift = weightShift - pixelShift
	for x, t := range across {
		from := row[4*t.first:][:4*len(t.weights)]
		r, g, b := int32(1<<(shift-1)), int32(1<<(shift-1)), int32(1<<(shift-1))
		for _, weight := range t.weights {
			r += weight * int32(from[0])
			g += weight * int32(from[1])
			b += weight * int32(from[2])
			from = from[4:]
		}
		pixel := to[4*x:][:4]
		pixel[0], pixel[1], pixel[2] = int16(r>>shift), int16(g>>shift), int16(b>>shift)
	}
}

func addRow(sums []int32, row []int16, weight int32) {
	row = row[:len(sums)]
	for i, v := range row {
		sums[i] += weight * int32(v)
	}
}

// finish makes opaque pixels of sums.
func finish(to []byte, sums []int32) {
	for i := 0; i+3 < len(to) && i+3 < len(sums); i += 4 {
		to[i], to[i+1], to[i+2], to[i+3] = level(sums[i]), level(sums[i+1]), level(sums[i+2]), 255
	}
}

// level is a sum as a value of 8 bits.
func level(sum int32) byte {
	const shift = weightShift + pixelShift
	return byte(max(0, min(255, (sum+1<<(shift-1))>>shift)))
}

// divide makes pixels of sums whose colours are multiplied by alpha.
func divide(to []byte, sums []int32) {
	for i := 0; i+3 < len(to) && i+3 < len(sums); i += 4 {
		a := level(sums[i+3])
		to[i+3] = a
		if a == 0 {
			to[i], to[i+1], to[i+2] = 0, 0, 0
			continue
		}
		for c := range 3 {
			to[i+c] = byte(max(0, min(255, (int64(sums[i+c])*255+int64(sums[i+3])/2)/int64(sums[i+3]))))
		}
	}
}
