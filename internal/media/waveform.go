package media

import "math"

// waveform finds the highest absolute sample of each of Parts equal parts of a sound. It
// is told before how many frames (samples of all channels at one moment) will come. If
// that was right, the parts are exact. If not, they are put together of fine buckets,
// which grow as the sound does, and a part begins up to 1/16384 of the sound early.
type waveform struct {
	frames   int64 // that came
	expected int64 // that will come, 0 where nobody knows
	parts    [Parts]float64
	buckets  []float64
	width    int64 // frames in a bucket
	channels int
}

const maxBuckets = 1 << 15

func newWaveform(channels int, expected int64) *waveform {
	return &waveform{channels: channels, expected: expected, width: 1}
}

// sample is what decoders give. Integers are of full scale at scale, floats at 1.
type sample interface {
	~int16 | ~int32 | ~float32 | ~float64
}

// addFrames adds samples of all channels in turns. A scale makes the highest one 1.
func addFrames[S sample](w *waveform, values []S, scale float64) {
	for len(values) >= w.channels {
		part, n := w.next(int64(len(values) / w.channels))
		count := int(n) * w.channels
		w.put(part, n, highest(values[:count])*scale)
		values = values[count:]
	}
}

// addPlanes adds frames whose samples are apart for each channel. All are equally long.
func addPlanes[S sample](w *waveform, planes [][]S, scale float64) {
	for at, left := 0, len(planes[0]); left > 0; {
		part, n := w.next(int64(left))
		var peak float64
		for _, plane := range planes {
			peak = max(peak, highest(plane[at:at+int(n)]))
		}
		w.put(part, n, peak*scale)
		at, left = at+int(n), left-int(n)
	}
}

// highest is the greatest absolute value. Of float files, NaN counts for nothing.
func highest[S sample](values []S) float64 {
	var low, high S
	for _, v := range values {
		if v > high {
			high = v
		}
		if v < low {
			low = v
		}
	}
	return max(float64(high), -float64(low))
}

// next tells how many of the frames to come, at most limit, lie in one part and one bucket.
func (w *waveform) next(limit int64) (part int, n int64) {
	n = min(limit, w.width-w.frames%w.width)
	if w.frames >= w.expected {
		return -1, n
	}
	part = int(mulDiv(w.frames, Parts, w.expected))
	for part+1 < Parts && partStart(part+1, w.expected) <= w.frames {
		part++
	}
	return part, min(n, max(1, partStart(part+1, w.expected)-w.frames))
}

func (w *waveform) put(part int, n int64, peak float64) {
	if part >= 0 {
		w.parts[part] = max(w.parts[part], peak)
	}
	if at := int(w.frames / w.width); at < len(w.buckets) {
		w.buckets[at] = max(w.buckets[at], peak)
	} else {
		w.buckets = append(w.buckets, peak)
	}
	w.frames += n
	if len(w.buckets) == maxBuckets && w.frames%w.width == 0 {
		w.fold()
	}
}

// fold makes each two buckets one.
func (w *waveform) fold() {
	for i := range maxBuckets / 2 {
		w.buckets[i] = max(w.buckets[2*i], w.buckets[2*i+1])
	}
	w.buckets = w.buckets[:maxBuckets/2]
	w.width *= 2
}

// peaks are those of all that came, 0 to 1 in steps of 1/10000. What is louder than full
// scale, which floats and lossy codecs can be, is 1.
func (w *waveform) peaks() []float64 {
	peaks := make([]float64, Parts)
	for part := range peaks {
		peak := w.parts[part]
		if w.frames != w.expected {
			peak = w.fine(part)
		}
		peaks[part] = math.Round(min(peak, 1)*1e4) / 1e4
	}
	if w.frames == w.expected && w.frames < Parts { // some parts hold no frame of their own
		for part := range peaks {
			peaks[part] = math.Round(min(w.fine(part), 1)*1e4) / 1e4
		}
	}
	return peaks
}

// fine is a part's peak by the buckets.
func (w *waveform) fine(part int) (peak float64) {
	if w.frames == 0 {
		return 0
	}
	first := partStart(part, w.frames) / w.width
	last := (partStart(part+1, w.frames) - 1) / w.width
	for at := first; at <= max(first, last) && at < int64(len(w.buckets)); at++ {
		peak = max(peak, w.buckets[at])
	}
	return peak
}

// partStart is the first frame of a part: ⌊part × frames / Parts⌋.
func partStart(part int, frames int64) int64 { return mulDiv(frames, int64(part), Parts) }

// mulDiv is ⌊a × b / c⌋ without overflow, for a and c up to 2⁵⁶ and one of b and c Parts at most.
func mulDiv(a, b, c int64) int64 { return a/c*b + a%c*b/c }
