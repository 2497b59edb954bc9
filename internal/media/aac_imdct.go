package media

import "math"

// imdct is the inverse modified discrete cosine transform (ISO/IEC 14496-3, 4.6.11.3.1) of
// size values, a power of two, into 2·size. It is a DCT-IV that is folded out, and that is a
// complex Fourier transform of half the size between two rotations.
type imdct struct {
	size   int
	rotate []complex128 // e^(-iπ(n+1/8)/size)
	roots  []complex128 // of the Fourier transform: e^(-2πik/(size/2))
	order  []int        // bits of an index reversed
	work   []complex128
}

func newIMDCT(size int) *imdct {
	half := size / 2
	m := &imdct{size: size, rotate: make([]complex128, half), roots: make([]complex128, half/2), order: make([]int, half), work: make([]complex128, half)}
	for i := range half {
		sin, cos := math.Sincos(-math.Pi * float64(8*i+1) / float64(8*size))
		m.rotate[i] = complex(cos, sin)
		m.order[i] = m.order[i/2]/2 + i%2*half/2
	}
	for i := range m.roots {
		sin, cos := math.Sincos(-2 * math.Pi * float64(i) / float64(half))
		m.roots[i] = complex(cos, sin)
	}
	return m
}

// transform writes 2·size values into out: Σ in[k]·cos(π/size·(n+(size+1)/2)·(k+1/2)) × scale.
func (m *imdct) transform(in, out []float64, scale float64) {
	size, half := m.size, m.size/2
	in, out = in[:size], out[:2*size]
	for i, r := range m.rotate {
		m.work[m.order[i]] = complex(in[2*i]*scale, in[size-1-2*i]*scale) * r
	}
	m.fourier()
	for i, r := range m.rotate {
		// u[2i] and u[size-1-2i] of the DCT-IV, each where it is and where it is mirrored.
		v := m.work[i] * r
		even, odd := real(v), -imag(v)
		out[3*half-1-2*i], out[half+2*i] = -even, -odd
		if 2*i >= half {
			out[2*i-half], out[5*half-1-2*i] = even, -odd
		} else {
			out[3*half+2*i], out[half-1-2*i] = -even, odd
		}
	}
}

// fourier transforms work, whose values lie in reversed order, in place.
func (m *imdct) fourier() {
	work := m.work
	for at := 0; at+1 < len(work); at += 2 {
		work[at], work[at+1] = work[at]+work[at+1], work[at]-work[at+1]
	}
	for width := 2; width < len(work); width *= 2 {
		step := len(work) / (2 * width)
		for at := 0; at < len(work); at += 2 * width {
			low, high := work[at:at+width], work[at+width:at+2*width]
			for i := range low {
				a, b := low[i], high[i]*m.roots[i*step]
				low[i], high[i] = a+b, a-b
			}
		}
	}
}

// aacWindows are the rising halves of windows (4.6.11.3.2) by shape, 0 sine and 1
// Kaiser-Bessel derived, of 1024 and of 128 values.
type aacWindows struct{ long, short [2][]float64 }

func newAACWindows() *aacWindows {
	return &aacWindows{
		long:  [2][]float64{sineWindow(1024), kaiserWindow(1024, 4)},
		short: [2][]float64{sineWindow(128), kaiserWindow(128, 6)},
	}
}

func sineWindow(size int) []float64 {
	w := make([]float64, size)
	for i := range w {
		w[i] = math.Sin(math.Pi / float64(2*size) * (float64(i) + 0.5))
	}
	return w
}

func kaiserWindow(size int, alpha float64) []float64 {
	w := make([]float64, size)
	sum := 0.0
	kernel := func(i int) float64 {
		x := 2*float64(i)/float64(size) - 1
		return bessel(math.Pi * alpha * math.Sqrt(1-x*x))
	}
	for i := range w {
		sum += kernel(i)
		w[i] = sum
	}
	sum += kernel(size)
	for i := range w {
		w[i] = math.Sqrt(w[i] / sum)
	}
	return w
}

// bessel is the modified Bessel function of the first kind, order 0.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-18; k++ {
		term *= x / 2 / k * (x / 2 / k)
		sum += term
	}
	return sum
}
