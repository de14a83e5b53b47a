/*
 * Holds a machine of KVM that has one processor, which never runs, until it is killed. Prints a line when it has it.
 *
 * As long as there is one, KVM does not switch SVM, its preemption notifiers and its checks for disabled APICs on and
 * off with the first and the last machine: each of those rewrites code of the kernel that another processor may be
 * executing, and an emulated one was seen to go on in the middle of such an instruction.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int machine = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    if (machine < 0 || ioctl(machine, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(machine, KVM_CREATE_VCPU, 0) < 0) {
        perror("hold-kvm");
        return 1;
    }
    puts("hold-kvm: KVM has a machine");
    fflush(stdout);
    for (;;) pause();
}
