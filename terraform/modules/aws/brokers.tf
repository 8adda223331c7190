# Brokers are instances with an identity, not members of an auto-scaling group,
# which would end one that has the only copy of something.
#
# No apply stops a broker that was not named: whatever would stop, restart or
# replace an instance is ignored on those that exist, and takes effect when the
# instance is replaced (README.md, "Changes"). The tag varve:configuration has
# the hash of what an instance was made from; output outdated_brokers compares.
resource "aws_instance" "broker" {
  # checkov:skip=CKV_AWS_126:Optional (detailed_monitoring): brokers have metrics of their own.
  # checkov:skip=CKV2_AWS_41:There is an instance profile; checkov does not see it through for_each.
  for_each = var.brokers

  ami                     = local.ami_id
  instance_type           = local.instance_types[each.key]
  iam_instance_profile    = aws_iam_instance_profile.broker[each.key].name
  placement_group         = var.placement_group
  user_data_base64        = base64gzip(local.user_data[each.key])
  disable_api_termination = var.deletion_protection
  monitoring              = var.detailed_monitoring
  ebs_optimized           = true
  tags = merge(local.tags, {
    Name                  = "${var.name}-broker-${each.key}"
    "varve:configuration" = local.configuration[each.key]
  })

  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.broker[each.key].id
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
  }

  lifecycle {
    ignore_changes = [
      ami, instance_type, placement_group, user_data_base64, ebs_optimized, root_block_device, tags["varve:configuration"],
    ]

    precondition {
      condition     = !each.value.instance_store || !contains(local.seeds, each.key)
      error_message = "Broker ${each.key} is a seed: its member of etcd should outlive the instance, so that it cannot have instance_store."
    }
  }

  # What an instance needs when it boots.
  depends_on = [aws_iam_role_policy.broker, aws_vpc_security_group_egress_rule.https]
}

# The data of a broker. It stays when the instance is replaced, and is attached
# to the next one.
resource "aws_ebs_volume" "data" {
  # checkov:skip=CKV_AWS_189:data_volume.kms_key_arn is there for those who want a key of their own.
  for_each = { for id, b in var.brokers : id => b if !b.instance_store }

  availability_zone = each.value.availability_zone
  type              = "gp3"
  size              = var.data_volume.size_gib
  iops              = var.data_volume.iops
  throughput        = var.data_volume.throughput
  encrypted         = true
  kms_key_id        = var.data_volume.kms_key_arn
  tags              = merge(local.tags, { Name = "${var.name}-broker-${each.key}" })

  lifecycle {
    # To delete a volume take it out of the state first (README.md, "Remove a broker").
    prevent_destroy = true
  }
}

resource "aws_volume_attachment" "data" {
  for_each = aws_ebs_volume.data

  device_name = "/dev/sdf" # the instance finds it by its id
  instance_id = aws_instance.broker[each.key].id
  volume_id   = each.value.id

  # SIGTERM for the broker, and a clean file system, before the volume goes.
  stop_instance_before_detaching = true
}

locals {
  ami_id         = var.ami_id != null ? var.ami_id : nonsensitive(data.aws_ssm_parameter.ami[0].value) # it is public
  instance_types = { for id, b in var.brokers : id => coalesce(b.instance_type, var.instance_type) }

  # What an instance is made from. The order of what is hashed is part of the hash.
  configuration = { for id in local.ids : id => sha256(jsonencode([
    local.ami_id, local.instance_types[id], var.placement_group, local.user_data[id],
  ])) }
}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
}
