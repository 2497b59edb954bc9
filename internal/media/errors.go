package media

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged means that the file cannot be decoded, from some point on or at all. What its
	// headers say is told if they may be right: where a decoder fails, not where the file contradicts itself.
	ErrDamaged = errors.New("file is damaged")
	// ErrUnsupported means that the file is sound, but in a codec or layout that is not decoded here.
	ErrUnsupported = errors.New("codec is not supported")
	// ErrTooLarge means that to decode the file would cost more than a file may.
	ErrTooLarge = errors.New("file is too large to decode")

	// errUndecoded is ErrDamaged where it is not known whether the file is, or its decoder.
	errUndecoded = fmt.Errorf("%w: it cannot be decoded", ErrDamaged)
)

// undecoded makes an error of a decoder, or of what it was given, one that keeps the facts.
// ErrDamaged itself stays: who says so knows that the file contradicts itself.
func undecoded(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) || factsRemain(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errUndecoded, err)
}
