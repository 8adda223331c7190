# What the mocked provider answers where the module, or the provider's own
# checks, look at the answer.
mock_data "aws_region" {
  defaults = { name = "eu-central-1" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_iam_policy_document" {
  defaults = { json = "{}" }
}

mock_data "aws_ssm_parameter" {
  defaults = { value = "ami-00000000000000001" }
}

mock_resource "aws_network_interface" {
  defaults = { private_ip = "10.0.0.10" }
}

mock_resource "aws_lb" {
  defaults = {
    arn      = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/net/test/1"
    dns_name = "test.elb.example.com"
  }
}

mock_resource "aws_lb_target_group" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/test/1" }
}
