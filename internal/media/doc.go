// Package media knows files of sound and pictures: what they hold, and what is told and shown of it. It reads what it is given and keeps
// nothing; it must not know of databases, buckets or HTTP, and bounds the memory and time that a hostile file can cost.
package media
