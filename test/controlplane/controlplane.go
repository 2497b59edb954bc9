// Package controlplane gives tests a real Kubernetes control plane (etcd, apiserver,
// controller-manager) and, in place of nodes, a Kubelet that sets the status of pods
// as a test says. Real pods are the business of test/e2e.
package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/assetplatform/assetplatform/test/checkout"
)

// controllers are those of the controller-manager that a platform's children need.
// Without nodes the others would only get in the way.
const controllers = "deployment-controller,replicaset-controller,statefulset-controller,job-controller,garbage-collector-controller,namespace-controller,persistentvolumeclaim-protection-controller,persistentvolume-binder-controller"

// ControlPlane is a running control plane.
type ControlPlane struct {
	Admin   *rest.Config
	Kubelet *Kubelet

	environment *envtest.Environment
	manager     *exec.Cmd
	directory   string
	stopKubelet context.CancelFunc
}

// Start starts a control plane with the project's CRDs installed. Its processes end
// with Stop.
func Start() (*ControlPlane, error) {
	c, manager, err := startAPI()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.Stop()
		}
	}()
	if err = c.startManager(manager); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stopKubelet = stop
	c.Kubelet, err = startKubelet(ctx, c.Admin)
	return c, err
}

// StartAPI starts etcd and the apiserver alone: nothing happens to an object but what
// a test does.
func StartAPI() (*ControlPlane, error) {
	c, _, err := startAPI()
	return c, err
}

func startAPI() (_ *ControlPlane, manager string, err error) {
	root := checkout.Root()
	binaries, err := binaries(root)
	if err != nil {
		return nil, "", err
	}
	c := &ControlPlane{environment: &envtest.Environment{
		BinaryAssetsDirectory: binaries["kube-apiserver"],
		CRDDirectoryPaths:     []string{filepath.Join(root, "config/crd/bases")},
		ErrorIfCRDPathMissing: true,
	}}
	c.environment.ControlPlane.GetAPIServer().Configure().Append("service-cluster-ip-range", "10.0.0.0/16").
		// Not on by default, but some distributions have it: who blocks an owner's deletion must be allowed to.
		Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	if c.directory, err = os.MkdirTemp("", "controlplane-"); err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			_ = c.Stop()
		}
	}()
	if c.Admin, err = c.environment.Start(); err != nil {
		return nil, "", fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	c.Admin.QPS = -1
	if err = c.writeKubeconfig(); err != nil {
		return nil, "", err
	}
	return c, filepath.Join(binaries["kube-controller-manager"], "kube-controller-manager"), nil
}

// Kubectl runs kubectl as the cluster's administrator and returns what it printed.
func (c *ControlPlane) Kubectl(arguments ...string) (string, error) {
	command := exec.Command(c.environment.ControlPlane.KubectlPath, append([]string{"--kubeconfig", c.Kubeconfig()}, arguments...)...)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return string(out), nil
}

// InstallCRDs installs the CustomResourceDefinitions of a project that hack/crds knows.
func (c *ControlPlane) InstallCRDs(project string) error {
	command := exec.Command(filepath.Join(checkout.Root(), "hack/crds"), project)
	command.Stderr = os.Stderr
	directory, err := command.Output()
	if err != nil {
		return fmt.Errorf("find the definitions of %s: %w", project, err)
	}
	_, err = c.Kubectl("apply", "--server-side", "-f", strings.TrimSpace(string(directory)))
	return err
}

// Kubeconfig is the path of an administrator's.
func (c *ControlPlane) Kubeconfig() string { return filepath.Join(c.directory, "kubeconfig") }

func (c *ControlPlane) writeKubeconfig() error {
	admin, err := c.environment.AddUser(envtest.User{Name: "admin-of-a-test", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return err
	}
	return os.WriteFile(c.Kubeconfig(), kubeconfig, 0o600)
}

// Stop ends everything that Start started.
func (c *ControlPlane) Stop() error {
	if c.stopKubelet != nil {
		c.stopKubelet()
	}
	if c.manager != nil {
		_ = c.manager.Process.Kill()
		_ = c.manager.Wait()
	}
	_ = os.RemoveAll(c.directory)
	return c.environment.Stop()
}

func (c *ControlPlane) startManager(program string) error {
	log, err := os.Create(filepath.Join(c.directory, "controller-manager.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c.manager = exec.Command(program, "--kubeconfig", c.Kubeconfig(), "--controllers", controllers, "--leader-elect=false",
		"--kube-api-qps", "500", "--kube-api-burst", "1000", "--secure-port", "0", "--use-service-account-credentials=false",
		"--concurrent-gc-syncs", "20")
	c.manager.Stdout, c.manager.Stderr = log, log
	c.manager.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.manager.Start(); err != nil {
		return fmt.Errorf("start kube-controller-manager: %w", err)
	}
	return nil
}

// binaries builds what is missing and returns the directory of each program.
func binaries(root string) (map[string]string, error) {
	command := exec.Command(filepath.Join(root, "hack/cluster/binaries"), "api", "node")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("build Kubernetes with hack/cluster/binaries: %w", err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 2 {
		return nil, fmt.Errorf("hack/cluster/binaries printed %q; want two directories", out)
	}
	return map[string]string{"kube-apiserver": lines[0], "kube-controller-manager": lines[1]}, nil
}
