package bench

import (
	"os/exec"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Programs that copy buckets. Each has the flags that its makers mean for it, and no settings of this machine's.

func s3Variables(b testing.TB, bucket config.Bucket) []string {
	b.Helper()
	return []string{
		"AWS_ACCESS_KEY_ID=" + bucket.AccessKey, "AWS_SECRET_ACCESS_KEY=" + bucket.SecretKey, "AWS_REGION=" + bucket.Region,
		"HOME=" + b.TempDir(), "PATH=/usr/bin:/bin",
	}
}

// awsCLI prepares Debian's aws, with the endpoint of a bucket.
func awsCLI(b testing.TB, bucket config.Bucket, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command("/usr/bin/aws", append([]string{"--endpoint-url", bucket.Endpoint}, args...)...)
	cmd.Env = s3Variables(b, bucket)
	return cmd
}

// s5cmd prepares it with the endpoint of a bucket: it knows but one.
func s5cmd(b testing.TB, bucket config.Bucket, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(built(b, "s5cmd", "s5cmd"), append([]string{"--endpoint-url", bucket.Endpoint, "--log", "error"}, args...)...)
	cmd.Env = s3Variables(b, bucket)
	return cmd
}

// rclone prepares it with two buckets, which it calls from: and to:. Those of one endpoint are one to it, so that the service copies.
func rclone(b testing.TB, from, to config.Bucket, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(built(b, "rclone", "rclone"), args...)
	cmd.Env = append(s3Variables(b, from), rcloneRemote("FROM", from)...)
	cmd.Env = append(cmd.Env, rcloneRemote("TO", to)...)
	return cmd
}

func rcloneRemote(name string, bucket config.Bucket) []string {
	prefix := "RCLONE_CONFIG_" + name + "_"
	return []string{
		prefix + "TYPE=s3", prefix + "PROVIDER=Other", prefix + "ENDPOINT=" + bucket.Endpoint, prefix + "REGION=" + bucket.Region,
		prefix + "ACCESS_KEY_ID=" + bucket.AccessKey, prefix + "SECRET_ACCESS_KEY=" + bucket.SecretKey, prefix + "NO_CHECK_BUCKET=true",
	}
}
